/** Test operands on a device, in the memory layout that a case asks for. */
import { drawOperand, type NdArray, type OpCase, type OperandSpec } from "@refl/kernels-wgsl/testing";
import { type Device, f16ToNumber, numberToF16, type Tensor, tensor } from "../src/index.ts";

/** The operands of a row, rounded to what its element types hold. */
export function drawOperands(c: OpCase): NdArray[] {
  return c.inputs.map((spec, i) => {
    const drawn = drawOperand(spec, 17 * i + 3);
    return spec.dtype === "f16" ? { ...drawn, data: drawn.data.map((x) => f16ToNumber(numberToF16(x))) } : drawn;
  });
}

/** Operands that are f32 whatever the op's element type: statistics, and what cross-entropy gives and takes beside the logits. */
const ALWAYS_F32: Readonly<Record<string, readonly number[]>> = {
  layerNormBackward: [2],
  groupNormBackward: [2],
  crossEntropyBackward: [0, 3, 4],
  scaledDotProductAttentionBackward: [5],
};

/** The row with its float operands stored as f16, or null where it has none or casts. The result is rounded to f16: 2⁻¹¹ of its size. */
export function halfForm(c: OpCase): OpCase | null {
  const inputs = c.inputs.map(
    (spec, i): OperandSpec =>
      (spec.dtype ?? "f32") === "f32" && spec.values !== "bool" && !ALWAYS_F32[c.op]?.includes(i)
        ? { ...spec, dtype: "f16" }
        : spec,
  );
  if (c.op === "cast" || inputs.every((spec) => spec.dtype !== "f16")) return null;
  return { ...c, inputs, tolerance: 1e-3 };
}

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
  const operands = c.inputs
    .map((i) => `${i.dtype ?? ""}[${i.shape.join(",")}]${i.layout && i.layout !== "dense" ? i.layout[0] : ""}`)
    .join(" ");
  return `${c.op} ${operands} ${JSON.stringify(c.attrs)}`;
}

/** max |a − b| / max |b|; the floor keeps references that are all near 0 from dividing by nothing. A NaN fits only a NaN, an infinity only itself. */
export function relativeError(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (found.length !== expected.length) return Number.POSITIVE_INFINITY;
  let worst = 0;
  let size = 1e-3;
  for (let i = 0; i < expected.length; i++) {
    const [a, b] = [found[i]!, expected[i]!];
    if (Number.isFinite(b)) size = Math.max(size, Math.abs(b));
    if (a === b || (Number.isNaN(a) && Number.isNaN(b))) continue;
    const difference = Math.abs(a - b);
    worst = Math.max(worst, Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference);
  }
  return worst / size;
}
