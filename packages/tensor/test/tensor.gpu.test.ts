/** Tensors: making them, reading them back from any layout, in-place changes, and the errors of wrong use. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { arange, cat, DTypeError, full, pad, ShapeError, stack, tensor, zeros } from "../src/index.ts";
import { testDevice } from "./device.ts";

const device = await testDevice("full");
const list = async (t: { data(): Promise<ArrayLike<number>> }): Promise<number[]> => Array.from(await t.data());

describe("making", () => {
  test("nested arrays give their shape, typed arrays their dtype", async () => {
    const x = tensor(device, [
      [1, 2, 3],
      [4, 5, 6],
    ]);
    expect([x.shape, x.dtype, x.strides]).toEqual([[2, 3], "f32", [3, 1]]);
    expect(tensor(device, 5).shape).toEqual([]);
    expect(tensor(device, [[], []]).shape).toEqual([2, 0]);
    expect(tensor(device, Int32Array.of(1, -2)).dtype).toBe("i32");
    expect(tensor(device, Uint32Array.of(1, 2)).dtype).toBe("u32");
    expect(await list(tensor(device, Float64Array.of(0.5, 1), [2, 1]))).toEqual([0.5, 1]);
    expect(() => tensor(device, [[1, 2], [3]])).toThrow(ShapeError);
    expect(() => tensor(device, [1, 2, 3], [2, 2])).toThrow(ShapeError);
  });

  test("constants and ranges of every dtype", async () => {
    expect(await list(full(device, [3], -1.5))).toEqual([-1.5, -1.5, -1.5]);
    expect(await list(full(device, [2], -7, "i32"))).toEqual([-7, -7]);
    expect(await list(full(device, [2], 4294967295, "u32"))).toEqual([4294967295, 4294967295]);
    expect(await list(full(device, [2], 3, "bool"))).toEqual([1, 1]);
    expect(await list(arange(device, 2, 9, 3))).toEqual([2, 5, 8]);
    expect(await list(arange(device, 3, 0, -1, "i32"))).toEqual([3, 2, 1]);
    expect(await list(zeros(device, [0, 3]))).toEqual([]);
  });

  test("f16 is refused where the device has none", async () => {
    expect(() => tensor(zeros(device, [1]).device, [1], [1], "f16")).not.toThrow();
    const portable = await testDevice("portable");
    expect(() => tensor(portable, [1], [1], "f16")).toThrow(DTypeError);
    expect(() => zeros(portable, [1], "f16")).toThrow(DTypeError);
    expect(() => zeros(portable, [1]).to("f16")).toThrow(DTypeError);
  });
});

describe("reading", () => {
  test("any chain of views reads as the same chain on the host", async () => {
    const dtype = fc.constantFrom("f32" as const, "f16" as const, "i32" as const, "bool" as const);
    const step = fc.record({
      kind: fc.constantFrom("transpose", "slice", "flat", "select"),
      a: fc.nat(20),
      b: fc.nat(20),
    });
    await fc.assert(
      fc.asyncProperty(dtype, fc.array(step, { maxLength: 4 }), async (type, steps) => {
        const sizes = [3, 5, 4];
        let host: unknown = Array.from({ length: 3 }, (_, i) =>
          Array.from({ length: 5 }, (_, j) =>
            Array.from({ length: 4 }, (_, k) => (type === "bool" ? (i + j + k) % 2 : 20 * i + 4 * j + k - 30)),
          ),
        );
        const transpose = (x: unknown[][]): unknown[][] => x[0]?.map((_, j) => x.map((row) => row[j])) ?? [];
        let view = tensor(device, (host as number[][][]).flat(2), sizes, type);
        for (const { kind, a, b } of steps) {
          if (view.rank < 2) break;
          if (kind === "transpose") {
            view = view.transpose(0, 1);
            host = transpose(host as unknown[][]);
          } else if (kind === "slice") {
            const n = view.shape[0]!;
            const [from, by] = [a % n, 1 + (b % 2)];
            view = view.slice(0, from, undefined, by);
            host = (host as unknown[]).filter((_, i) => i >= from && (i - from) % by === 0);
          } else if (kind === "flat") {
            view = view.flatten(0, 1);
            host = (host as unknown[][]).flat(1);
          } else {
            view = view.select(0, a % view.shape[0]!);
            host = (host as unknown[])[a % (host as unknown[]).length];
          }
        }
        expect(await list(view)).toEqual((host as number[]).flat(3));
      }),
      { numRuns: 60 },
    );
  });

  test("one element at an odd half's place", async () => {
    const x = tensor(device, [1, 2, 3, 4, 5], [5], "f16");
    expect(await list(x.slice(0, 1, 2))).toEqual([2]);
    expect(await x.select(0, 3).item()).toBe(4);
    expect(x.item()).rejects.toThrow(ShapeError);
  });

  test("two reads at once", async () => {
    const x = arange(device, 0, 6);
    const [a, b] = await Promise.all([list(x), list(x.mul(2))]);
    expect([a, b]).toEqual([
      [0, 1, 2, 3, 4, 5],
      [0, 2, 4, 6, 8, 10],
    ]);
  });
});

describe("in place", () => {
  test("fill_, copy_, add_ and write_ change only the view's elements", async () => {
    for (const dtype of ["f32", "f16"] as const) {
      const x = tensor(device, [0, 1, 2, 3, 4, 5, 6, 7], [8], dtype);
      x.slice(0, 1, 3).fill_(9);
      x.slice(0, 3, 6).write_([-1, -2, -3]);
      x.slice(0, 6, 8).add_(tensor(device, [10, 20], [2], dtype));
      expect(await list(x)).toEqual([0, 9, 9, -1, -2, -3, 16, 27]);
      x.slice(0, 0, undefined, 2).copy_(tensor(device, [100]));
      expect(await list(x)).toEqual([100, 9, 100, -1, 100, -3, 100, 27]);
      const y = tensor(device, [1, 2, 3, 4], [4], dtype);
      y.slice(0, 0, 3).write_([7, 8, 9]);
      expect(await list(y)).toEqual([7, 8, 9, 4]);
    }
  });

  test("shapes that do not fit are refused", () => {
    const x = zeros(device, [2, 3]);
    expect(() => x.add_(zeros(device, [3]))).toThrow(ShapeError);
    expect(() => x.write_([1])).toThrow(ShapeError);
    expect(() => x.transpose(0, 1).fill_(1)).toThrow(ShapeError);
    expect(() => x.copy_(zeros(device, [2, 2]))).toThrow(ShapeError);
  });
});

describe("shapes and types", () => {
  test("joins, pads and splits", async () => {
    const x = tensor(device, [
      [1, 2],
      [3, 4],
    ]);
    expect(await list(cat([x, x.slice(0, 0, 1)]))).toEqual([1, 2, 3, 4, 1, 2]);
    expect(await list(stack([x, x.mul(10)], -1))).toEqual([1, 10, 2, 20, 3, 30, 4, 40]);
    expect(await list(pad(x, [1, 0, 0, 1], 9))).toEqual([9, 1, 2, 9, 3, 4, 9, 9, 9]);
    expect(await Promise.all(x.chunk(2, 1).map(list))).toEqual([
      [1, 3],
      [2, 4],
    ]);
    expect(() => x.chunk(3, 1)).toThrow(ShapeError);
    expect(() => cat([x, zeros(device, [2, 3])])).toThrow(ShapeError);
    expect(() => cat([x, zeros(device, [2, 2], "i32")])).toThrow(DTypeError);
    expect(() => pad(x, [1])).toThrow(ShapeError);
  });

  test("wrong shapes and types are named", () => {
    const x = zeros(device, [2, 3]);
    expect(() => x.reshape(4, 2)).toThrow(ShapeError);
    expect(x.reshape(-1, 2).shape).toEqual([3, 2]);
    expect(() => x.reshape(-1, 4)).toThrow(ShapeError);
    expect(() => x.permute(0, 0)).toThrow(ShapeError);
    expect(() => x.expand(3, 3)).toThrow(ShapeError);
    expect(() => x.squeeze(0)).toThrow(ShapeError);
    expect(() => x.select(1, 3)).toThrow(ShapeError);
    expect(() => x.matmul(zeros(device, [2, 3]))).toThrow("did you mean b.transpose(-1, -2)?");
    expect(() => x.add(zeros(device, [2, 3], "i32"))).toThrow(DTypeError);
    expect(() => zeros(device, [2], "i32").exp()).toThrow(DTypeError);
    expect(() => zeros(device, [2], "bool").add(1)).toThrow(DTypeError);
    expect(() => zeros(device, [2], "u32").neg()).toThrow(DTypeError);
    expect(() => zeros(device, [2], "bool").sign()).toThrow(DTypeError);
    expect(() => zeros(device, [0]).amax()).toThrow(ShapeError);
  });

  test("conversions truncate, saturate at the last f32 in range and test for zero", async () => {
    const x = tensor(device, [-1.7, 0, 2.9, 1e30]);
    expect(await list(x.to("i32"))).toEqual([-1, 0, 2, 2147483520]);
    expect(await list(x.to("bool"))).toEqual([1, 0, 1, 1]);
    expect(await list(x.gt(0).to("f32"))).toEqual([0, 0, 1, 1]);
    expect(x.to("f32")).toBe(x);
  });
});
