/** The matrix product for software adapters of four lanes, beside the ladder of `index.ts` and under its contract. */
import { type Defines, defineKernel, internDefines } from "../kernel.ts";
import { gemm_quad } from "../wgsl.gen.ts";
import { gemmDefines } from "./index.ts";

/** Rows, and vec4s of columns to a lane, of a workgroup's block. */
const ROWS = 16;
const COLS = 4;

const interned = internDefines();

/** Adds the storage order of the operands to {@link gemmDefines}. */
export function gemmQuadDefines(base: Defines, transposed: { a: boolean; b: boolean }): Defines {
  const { T, BIAS, BIAS_COL, ACT } = base;
  return interned(`${T} ${BIAS} ${BIAS_COL} ${ACT} ${transposed.a} ${transposed.b}`, () => ({
    ...base,
    ROWS,
    ROWS4: ROWS / 4,
    QUADS: ROWS / 4,
    COLS,
    TA: transposed.a,
    TB: transposed.b,
  }));
}

export const gemmQuad = defineKernel({
  name: "gemm_quad",
  source: gemm_quad,
  enables: ["subgroups"],
  buffers: [
    ["a", "read"],
    ["b", "read"],
    ["bias?BIAS", "read"],
    ["c", "read_write"],
  ],
  params: {
    m: "u32",
    n: "u32",
    k: "u32",
    offsetA: "u32",
    offsetB: "u32",
    offsetC: "u32",
    batchA: "u32",
    batchB: "u32",
    batchC: "u32",
    lda: "u32",
    ldb: "u32",
    offsetBias: "u32",
    biasRow: "u32",
    biasCol: "u32",
  },
  workgroup: [4, 1, 1],
  variants: [
    gemmQuadDefines(gemmDefines("f32", "none", "none"), { a: false, b: false }),
    gemmQuadDefines(gemmDefines("f32", "col", "gelu"), { a: true, b: true }),
  ],
});

/** Grid of {@link gemmQuad}; `batch` goes to z. */
export function gemmQuadGrid(m: number, n: number, batch: number): [number, number, number] {
  return [Math.ceil(n / (16 * COLS)), Math.ceil(m / ROWS), batch];
}
