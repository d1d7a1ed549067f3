/** Test operands on a device, in the memory layout that a case asks for. */
import type { NdArray, OpCase, OperandSpec } from "@refl/kernels-wgsl/testing";
import type { Device, Tensor } from "../src/index.ts";
import { tensor } from "../src/index.ts";

/** Places dense values as the spec's layout says: the view that comes back has the spec's shape. */
export function place(device: Device, spec: OperandSpec, values: NdArray): Tensor {
  const dtype = spec.dtype ?? "f32";
  const { shape } = values;
  const layout = spec.layout ?? "dense";
  if (layout === "transposed" && shape.length >= 2) {
    const order = shape.map((_, i) => i);
    order.push(...order.splice(-2).reverse());
    const swapped = order.map((a) => shape[a]!);
    const dense = tensor(device, values.data, [...shape], dtype);
    const moved = dense.permute(...order).clone();
    dense.dispose();
    const view = moved.permute(...order);
    moved.dispose();
    if (view.shape.join() !== shape.join()) throw new Error(`placed [${swapped}] for [${shape}]`);
    return view;
  }
  if (layout === "sliced") {
    const padded = new Float64Array(values.data.length + 5).fill(9);
    padded.set(values.data, 3);
    const flat = tensor(device, padded, [padded.length], dtype);
    const part = flat.slice(0, 3, 3 + values.data.length);
    flat.dispose();
    const view = part.reshape(...shape);
    part.dispose();
    return view;
  }
  return tensor(device, values.data, [...shape], dtype);
}

/** A short name for a case. */
export function caseName(c: OpCase): string {
  const operands = c.inputs.map((i) => `${i.dtype ?? ""}[${i.shape.join(",")}]${i.layout && i.layout !== "dense" ? i.layout[0] : ""}`).join(" ");
  return `${c.op} ${operands} ${JSON.stringify(c.attrs)}`;
}

/** max |a − b| / max |b|; the floor keeps references that are all near 0 from dividing by nothing. */
export function relativeError(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  let worst = 0;
  let size = 1e-3;
  for (let i = 0; i < expected.length; i++) {
    const d = Math.abs(found[i]! - expected[i]!);
    if (!(d <= worst)) worst = Object.is(found[i], expected[i]) || (Number.isNaN(found[i]!) && Number.isNaN(expected[i]!)) ? worst : d;
    if (Number.isFinite(expected[i]!)) size = Math.max(size, Math.abs(expected[i]!));
  }
  return worst / size;
}
