/** Sums of much input: of columns and of rows, with vec4 loads. */
import { type Defines, defineKernel } from "../kernel.ts";
import { sum_columns, sum_rows } from "../wgsl.gen.ts";
import { type RowLayout, rowDefines, rowKernels } from "./rows.ts";

type FloatType = "f32" | "f16";

/** Defines of a sum of columns. */
export function sumColumnsDefines(input: FloatType, output: FloatType): Defines {
  return { A: input, O: output };
}

/** Threads of a workgroup of {@link sumColumns}. */
export const SUM_COLUMNS_THREADS = 32;

export const sumColumns = defineKernel({
  name: "sum_columns",
  source: sum_columns,
  buffers: [
    ["a", "read"],
    ["o", "read_write"],
  ],
  params: {
    offset: "u32",
    matrixStride: "u32",
    rowStride: "u32",
    rows: "u32",
    columns: "u32",
    chunks: "u32",
    chunk: "u32",
    threads: "u32",
    scale: "f32",
  },
  workgroup: [SUM_COLUMNS_THREADS, 1, 1],
  variants: [sumColumnsDefines("f32", "f32")],
});

/**
 * How many chunks the rows of a sum of columns are cut into, where `columns` vec4s stand side by side: enough threads to fill the device, chunks of
 * at least 16 rows, and at most 4,096 rows to a chunk, whose chains of additions are then at most 1,024 long.
 */
export function sumColumnsChunks(rows: number, columns: number, threads: number): number {
  return Math.max(1, Math.min(Math.ceil(threads / columns), Math.ceil(rows / 16)), Math.ceil(rows / 4096));
}

/** Defines of a sum of rows. */
export function sumRowsDefines(layout: RowLayout, output: FloatType): Defines {
  return { ...rowDefines(layout), O: output };
}

export const [sumRows, sumRowsSubgroup] = rowKernels("sum_rows", sum_rows, {
  buffers: [
    ["a", "read"],
    ["o", "read_write"],
  ],
  params: { offset: "u32", rowStride: "u32", rows: "u32", columns: "u32", scale: "f32" },
  variants: (layout) => (layout.vec4 ? [sumRowsDefines(layout, "f32")] : []),
});
