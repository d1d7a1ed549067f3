/** What a test case of an op is, for the tables that every floor and host reads. */

/** A dense array in row-major order with float64 values: what references take and give. */
export interface NdArray {
  readonly shape: readonly number[];
  readonly data: Float64Array;
}

/** How an operand's values are drawn. `distinct` keeps values apart (for maxima), `index` draws integers in [0, below). */
export type Distribution =
  | "normal"
  | "positive"
  | "unit"
  | "distinct"
  | "bool"
  | { readonly index: number }
  | { readonly mean: number; readonly deviation: number };

export interface OperandSpec {
  readonly shape: readonly number[];
  readonly values?: Distribution;
  readonly dtype?: "f32" | "f16" | "i32" | "u32" | "bool";
  /** How the operand lies in memory: dense, with its last two axes swapped, or as a part of a larger tensor at an odd offset. */
  readonly layout?: "dense" | "transposed" | "sliced";
  /** False for operands that carry no gradient although they are floats. */
  readonly differentiable?: false;
}

/** One row of an op's table. `op` and `attrs` are what floor 1's `apply(op, inputs, attrs)` takes. */
export interface OpCase {
  readonly op: string;
  readonly inputs: readonly OperandSpec[];
  readonly attrs: unknown;
  /** Largest |difference| / largest |reference|; 1e-5 unless the row says why it is more. */
  readonly tolerance?: number;
  /** In the smoke subset that other hosts run too. */
  readonly smoke?: true;
}

/** A float64 reference: the op's result from dense inputs. */
export type Reference = (inputs: readonly NdArray[], attrs: never) => NdArray;

export type ReferenceTable = Readonly<Record<string, Reference>>;

export function ndarray(shape: readonly number[], data?: Float64Array): NdArray {
  return { shape, data: data ?? new Float64Array(shape.reduce((a, b) => a * b, 1)) };
}

/** Row-major strides. */
export function stridesOf(shape: readonly number[]): number[] {
  const strides = new Array<number>(shape.length);
  let step = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    strides[i] = step;
    step *= shape[i]!;
  }
  return strides;
}

/** Calls `visit` with every multi-index of `shape` in row-major order and its flat position. The index array is reused. */
export function eachIndex(shape: readonly number[], visit: (index: readonly number[], flat: number) => void): void {
  const count = shape.reduce((a, b) => a * b, 1);
  const index = new Array<number>(shape.length).fill(0);
  for (let flat = 0; flat < count; flat++) {
    visit(index, flat);
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      if (++index[axis]! < shape[axis]!) break;
      index[axis] = 0;
    }
  }
}
