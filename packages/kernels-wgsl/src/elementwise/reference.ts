/** Float64 references of the elementwise ops: the table's own function over broadcast operands. */
import { eachIndex, type NdArray, ndarray, type Reference, stridesOf } from "../testing/cases.ts";
import { type ElementwiseOp, type ElementwiseOpName, elementwiseOps } from "./ops.ts";

interface Attrs {
  readonly scalar?: number;
  readonly scalar2?: number;
  readonly swap?: boolean;
}

function broadcast(inputs: readonly NdArray[]): { shape: number[]; strides: number[][] } {
  const rank = Math.max(...inputs.map((x) => x.shape.length));
  const shape = Array.from({ length: rank }, (_, i) => {
    const sizes = inputs.map((x) => x.shape[i - rank + x.shape.length] ?? 1);
    return sizes.find((size) => size !== 1) ?? 1;
  });
  const strides = inputs.map((x) => {
    const own = stridesOf(x.shape);
    const lead = rank - x.shape.length;
    return shape.map((_, i) => (i < lead || x.shape[i - lead] === 1 ? 0 : own[i - lead]!));
  });
  return { shape, strides };
}

function evaluate(
  op: ElementwiseOp,
  inputs: readonly NdArray[],
  { scalar = 0, scalar2 = 0, swap = false }: Attrs,
): NdArray {
  const { shape, strides } = broadcast(inputs);
  const out = ndarray(shape);
  eachIndex(shape, (index, flat) => {
    const [x, y, z] = inputs.map(
      (input, k) => input.data[index.reduce((sum, i, axis) => sum + i * strides[k]![axis]!, 0)]!,
    );
    if (inputs.length > 1) out.data[flat] = op.reference(x!, y!, z ?? scalar, scalar2);
    else out.data[flat] = swap ? op.reference(scalar, x!, 0, 0) : op.reference(x!, scalar, scalar2, 0);
  });
  return out;
}

export const elementwiseReference = Object.fromEntries(
  (Object.keys(elementwiseOps) as ElementwiseOpName[]).map((name) => [
    name,
    (inputs: readonly NdArray[], attrs: Attrs) => evaluate(elementwiseOps[name], inputs, attrs),
  ]),
) as unknown as Record<ElementwiseOpName, Reference>;
