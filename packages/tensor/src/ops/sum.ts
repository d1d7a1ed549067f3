/** Sums of much input by the kernels with vec4 loads; what does not fit them is left to the general reduction. */
import {
  linearGrid,
  SUM_COLUMNS_THREADS,
  sumColumns,
  sumColumnsChunks,
  sumColumnsDefines,
  sumRows,
  sumRowsDefines,
  sumRowsSubgroup,
} from "@refl/kernels-wgsl";
import { isFloat } from "../dtype.ts";
import { Tensor } from "../tensor.ts";
import { rowPlan } from "./rows.ts";

/** Merged axes: sizes and strides in elements. */
interface MergedAxes {
  readonly shape: readonly number[];
  readonly strides: readonly number[];
}

/**
 * The least input. At exactly so much, on lavapipe, columns take 0.54 ms against the general kernel's 3.97, rows 0.60 against 1.94 and all 0.58
 * against 1.57. Less would gain, too: the bound is no crossover, but stands above the 532,480 elements that the shipped models' recipes sum along one
 * stretch at most, because another order of additions changes their bits.
 */
const LARGE = 1 << 20;
/** Longer rows are cut first, because few threads would share each. */
const LONGEST_ROW = 8192;
/** Columns that a long row is cut into. */
const CUT = 1024;

type FloatType = "f32" | "f16";

/**
 * Sums `folded` axes of x into `out`, times `scale`, and returns true; or returns false where the general kernel should: x is small, its elements are
 * integers, or neither the kept nor the folded axis is one stretch of memory that vec4 loads can cut.
 */
export function sumMuch(x: Tensor, kept: MergedAxes, folded: MergedAxes, out: Tensor, scale: number): boolean {
  if (x.numel < LARGE || !isFloat(x.dtype) || folded.shape.length !== 1 || kept.shape.length > 2) return false;
  if (x.offset % 4 !== 0) return false;
  const count = folded.shape[0]!;
  const step = folded.strides[0]!;
  const width = kept.shape.at(-1) ?? 1;
  const [matrices, matrixStride] = kept.shape.length === 2 ? [kept.shape[0]!, kept.strides[0]!] : [1, 0];
  if (kept.strides.at(-1) === 1 && width % 4 === 0 && step % 4 === 0 && matrixStride % 4 === 0) {
    columns({ x, offset: x.offset, matrices, matrixStride, rows: count, rowStride: step, width }, out, scale);
    return true;
  }
  const rowStride = kept.strides[0] ?? 0;
  if (step !== 1 || kept.shape.length > 1 || count % 4 !== 0 || rowStride % 4 !== 0) return false;
  if (count > LONGEST_ROW && count % CUT !== 0) return false;
  rows(x, x.offset, out.numel, count, rowStride, out, scale);
  return true;
}

interface Matrices {
  readonly x: Tensor;
  readonly offset: number;
  readonly matrices: number;
  readonly matrixStride: number;
  readonly rows: number;
  readonly rowStride: number;
  /** Columns. */
  readonly width: number;
}

/** One chunk to a thread, and the chunks' sums by the same kernel. A software adapter has few cores, and each further dispatch costs it 2 % of a million elements. */
function columns(from: Matrices, out: Tensor, scale: number): void {
  const { x, offset, matrices, matrixStride, rows: count, rowStride, width } = from;
  const { device } = x;
  const chunks = sumColumnsChunks(count, (matrices * width) / 4, device.adapter.software ? 128 : 16384);
  const last = chunks === 1;
  const target = last ? out : Tensor.empty(device, [matrices, chunks, width], "f32");
  const threads = (matrices * chunks * width) / 4;
  device.run(
    sumColumns,
    sumColumnsDefines(x.dtype as FloatType, target.dtype as FloatType),
    [x.storage, target.storage],
    {
      offset: offset / 4,
      matrixStride: matrixStride / 4,
      rowStride: rowStride / 4,
      rows: count,
      columns: width / 4,
      chunks,
      chunk: Math.ceil(count / chunks),
      threads,
      scale: last ? scale : 1,
    },
    linearGrid(threads, SUM_COLUMNS_THREADS),
  );
  if (last) return;
  const partial = {
    x: target,
    offset: 0,
    matrices,
    matrixStride: chunks * width,
    rows: chunks,
    rowStride: width,
    width,
  };
  columns(partial, out, scale);
}

/** Rows of `count` neighbouring elements; long ones by way of the sums of their columns, as if each were a matrix. */
function rows(
  x: Tensor,
  offset: number,
  outputs: number,
  count: number,
  rowStride: number,
  out: Tensor,
  scale: number,
): void {
  const { device } = x;
  if (count > LONGEST_ROW) {
    const sums = Tensor.empty(device, [outputs, CUT], "f32");
    const lines = { rows: count / CUT, rowStride: CUT, width: CUT };
    columns({ x, offset, matrices: outputs, matrixStride: rowStride, ...lines }, sums, 1);
    rows(sums, 0, outputs, CUT, CUT, out, scale);
    return;
  }
  const { layout, grid } = rowPlan(device, x.dtype as FloatType, outputs, count);
  device.run(
    layout.lanes === "subgroup" ? sumRowsSubgroup : sumRows,
    sumRowsDefines(layout, out.dtype as FloatType),
    [x.storage, out.storage],
    { offset: offset / 4, rowStride: rowStride / 4, rows: outputs, columns: count / 4, scale },
    grid,
  );
}
