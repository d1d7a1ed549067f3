/** Kernels for much work beside the general ones: which sizes get them, and that they give the same bits where they say so. */
import { drawOperand } from "@refl/kernels-wgsl/testing";
import { expect, test } from "vitest";
import { apply, type Device, scope, type Tensor, tensor, zeros } from "../src/index.ts";
import { copyInto } from "../src/ops/copy.ts";
import { testDevice } from "./device.ts";
import { relativeError } from "./operands.ts";

const device = await testDevice("full");

/** The kernels that `f` dispatches. */
function kernelsOf(f: (device: Device) => void): string[] {
  const names: string[] = [];
  const own = device.run;
  device.run = (kernel, ...rest) => {
    names.push(kernel.name);
    own.call(device, kernel, ...rest);
  };
  try {
    scope(() => {
      f(device);
    });
  } finally {
    device.run = own;
  }
  return names;
}

const drawn = (shape: number[], seed: number): Tensor =>
  tensor(device, drawOperand({ shape }, seed).data, shape, "f32");
const drawnIds = (count: number, below: number): Float64Array =>
  drawOperand({ shape: [count], values: { index: below } }, 5).data as Float64Array;

test("sums of less than 1,048,576 elements, and of what vec4 loads cannot cut, stay with the general kernel", () => {
  const sums = (shape: number[], axis: number): string[] => kernelsOf((on) => zeros(on, shape).sum(axis)).slice(1);
  for (const [shape, axis] of [
    [[1024, 1020], 0],
    [[1020, 1024], 1],
    [[1024, 1030], 0],
    [[1024, 1030], 1],
    [[1024, 1025], 1],
  ] as const)
    expect(new Set(sums([...shape], axis)), shape.join()).toEqual(new Set(["reduce"]));
  expect(sums([1024, 1024], 0).every((name) => name === "sum_columns")).toBe(true);
  expect(sums([1024, 1024], 1).every((name) => name.startsWith("sum_rows"))).toBe(true);
});

test("a wide fill writes what a narrow one does and nothing beside it", async () => {
  const count = 1 << 17;
  const around = zeros(device, [count + 12]);
  const inner = around.slice(0, 4, 4 + count);
  expect(kernelsOf(() => inner.fill_(2.5))).toEqual(["fill_wide"]);
  const off = zeros(device, [count + 12]);
  const odd = off.slice(0, 3, 3 + count);
  expect(kernelsOf(() => odd.fill_(2.5))).toEqual(["fill"]);
  const expected = (start: number): Float32Array =>
    Float32Array.from({ length: count + 12 }, (_, i) => (i >= start && i < start + count ? 2.5 : 0));
  expect(Buffer.compare(bytes(await around.data()), bytes(expected(4)))).toBe(0);
  expect(Buffer.compare(bytes(await off.data()), bytes(expected(3)))).toBe(0);
  for (const x of [around, inner, off, odd]) x.dispose();
});

test("a wide copy writes, converts and adds what a narrow one does and nothing beside it", async () => {
  const count = 1 << 17;
  const from = drawn([count], 3);
  for (const dtype of device.capabilities.f16 ? (["f32", "f16"] as const) : (["f32"] as const)) {
    const around = zeros(device, [count + 12], dtype);
    const off = zeros(device, [count + 12], dtype);
    const inner = around.slice(0, 4, 4 + count);
    const odd = off.slice(0, 3, 3 + count);
    for (const accumulate of [false, true]) {
      const copy = (to: Tensor): void => copyInto(to, { strides: [1], offset: to.offset }, from, accumulate);
      expect(kernelsOf(() => copy(inner))).toEqual(["copy_wide"]);
      expect(kernelsOf(() => copy(odd))).toEqual(["copy_flat"]);
    }
    const [wide, narrow] = [await around.data(), await off.data()];
    expect(wide.subarray(4, 4 + count)).toEqual(narrow.subarray(3, 3 + count));
    expect(wide[4]).not.toBe(0);
    expect([...wide.subarray(0, 4), ...wide.subarray(4 + count)].every((x) => x === 0)).toBe(true);
    for (const x of [around, off, inner, odd]) x.dispose();
  }
  from.dispose();
});

test.each([257, 258, 259])("a transposed product takes %i steps by subgroups where it is large", async (k) => {
  const [m, n] = [256, 260];
  const [a, b] = [drawOperand({ shape: [k, m] }, 1).data, drawOperand({ shape: [k, n] }, 2).data];
  const [left, right] = [tensor(device, a, [k, m]), tensor(device, b, [k, n])];
  const product = scope(() => left.transpose(0, 1).matmul(right));
  if (device.capabilities.subgroupSize >= 4)
    expect(kernelsOf(() => left.transpose(0, 1).matmul(right))).toEqual(["gemm_subgroup"]);
  const expected = new Float64Array(m * n);
  for (let step = 0; step < k; step++)
    for (let i = 0; i < m; i++) for (let j = 0; j < n; j++) expected[i * n + j]! += a[step * m + i]! * b[step * n + j]!;
  expect(relativeError(await product.data(), expected)).toBeLessThan(1e-5);
  for (const x of [left, right, product]) x.dispose();
});

test("the wide embedding kernels give the bits of the narrow ones, long chains included", async () => {
  const [count, width, rows] = [1024, 256, 40];
  const values = drawnIds(count, rows + 3);
  const g = drawn([count, width], 7);
  const ids = tensor(device, values, [count], "i32");
  // Ids that are no multiple of four and rows of 20 elements go to the narrow kernels; the id beside the table counts nothing.
  const longer = tensor(device, [...values, rows], [count + 1], "i32");
  const part = 20;
  const narrowG = drawn([count + 1, part], 0).fill_(0);
  const first = g.slice(1, 0, part);
  narrowG.slice(0, 0, count).copy_(first);
  const gradient = (from: Tensor, by: Tensor): Tensor => apply("embeddingBackward", [from, by], { rows });
  expect(kernelsOf(() => gradient(g, ids))).toEqual([
    "fill_wide",
    "fill_wide",
    "embedding_link_wide",
    "embedding_scatter_wide",
  ]);
  const wide = gradient(g, ids);
  const narrow = gradient(narrowG, longer);
  const found = (await wide.data()) as Float32Array;
  const expected = (await narrow.data()) as Float32Array;
  for (let row = 0; row < rows; row++) {
    const ours = found.slice(row * width, row * width + part);
    expect(Buffer.compare(bytes(ours), bytes(expected.slice(row * part, (row + 1) * part)))).toBe(0);
  }
  for (const x of [g, ids, longer, narrowG, first, wide, narrow]) x.dispose();
});

function bytes(values: ArrayLike<number>): Uint8Array {
  const { buffer, byteOffset, byteLength } = values as Float32Array;
  return new Uint8Array(buffer, byteOffset, byteLength);
}
