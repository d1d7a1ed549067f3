/** Matrix products: the ladder naive → register block → workgroup tile → subgroup broadcast, one contract for all four. */
import { mathFor } from "../elementwise/math.ts";
import { type Defines, defineKernel, internDefines, linearGrid } from "../kernel.ts";
import { gemm_naive, gemm_register, gemm_register_vec4, gemm_subgroup, gemm_tiled } from "../wgsl.gen.ts";

/** Activation fused into a product's store. */
export type Activation = "none" | "relu" | "gelu" | "silu" | "quickGelu";

const ACTIVATIONS: Record<Activation, string> = {
  none: "x",
  relu: "max(x, 0.0)",
  gelu: "gelu(x)",
  silu: "silu(x)",
  quickGelu: "quick_gelu(x)",
};

const buffers = [
  ["a", "read"],
  ["b", "read"],
  ["bias?BIAS", "read"],
  ["c", "read_write"],
] as const;

/** Of the kernels that bind a buffer for the bias in any case, and are told by the parameters whether to read it. */
const alwaysBias = [
  ["a", "read"],
  ["b", "read"],
  ["bias", "read"],
  ["c", "read_write"],
] as const;

const sizes = {
  m: "u32",
  n: "u32",
  k: "u32",
  offsetA: "u32",
  offsetB: "u32",
  offsetC: "u32",
  batchA: "u32",
  batchB: "u32",
  batchC: "u32",
} as const;
const bias = { offsetBias: "u32", biasRow: "u32", biasCol: "u32" } as const;
const strided = { ...sizes, rowA: "u32", colA: "u32", rowB: "u32", colB: "u32", ...bias } as const;

const interned = internDefines();

/** Defines shared by the four kernels; `bias` says whether it runs along the columns of C or along its rows. */
export function gemmDefines(type: "f32" | "f16", biasAlong: "none" | "col" | "row", activation: Activation): Defines {
  return interned(`${type} ${biasAlong} ${activation}`, () => {
    const act = ACTIVATIONS[activation];
    return { T: type, BIAS: biasAlong !== "none", BIAS_COL: biasAlong === "col", ACT: act, MATH: mathFor(act) };
  });
}

const plain = gemmDefines("f32", "none", "none");
const full = gemmDefines("f32", "col", "gelu");

export const gemmNaive = defineKernel({
  name: "gemm_naive",
  source: gemm_naive,
  buffers: alwaysBias,
  params: strided,
  workgroup: [64, 1, 1],
  variants: [plain, full],
});

export const gemmRegister = defineKernel({
  name: "gemm_register",
  source: gemm_register,
  buffers,
  params: strided,
  workgroup: [64, 1, 1],
  variants: [plain, full],
});

/** Rows of C that a thread of {@link gemmRegisterVec4} computes. */
const VEC4_ROWS = 8;

/** Adds the storage order of the operands. */
export function gemmRegisterVec4Defines(base: Defines, transposed: { a: boolean; b: boolean }): Defines {
  const { T, BIAS, BIAS_COL, ACT } = base;
  return interned(`register ${T} ${BIAS} ${BIAS_COL} ${ACT} ${transposed.a} ${transposed.b}`, () => ({
    ...base,
    ROWS: VEC4_ROWS,
    ROWS4: VEC4_ROWS / 4,
    TA: transposed.a,
    TB: transposed.b,
  }));
}

export const gemmRegisterVec4 = defineKernel({
  name: "gemm_register_vec4",
  source: gemm_register_vec4,
  buffers,
  params: { ...sizes, lda: "u32", ldb: "u32", ...bias },
  workgroup: [64, 1, 1],
  variants: [
    gemmRegisterVec4Defines(plain, { a: false, b: false }),
    gemmRegisterVec4Defines(full, { a: true, b: true }),
  ],
});

export const gemmTiled = defineKernel({
  name: "gemm_tiled",
  source: gemm_tiled,
  buffers,
  params: strided,
  workgroup: [64, 1, 1],
  variants: [plain, full],
});

/** Adds the subgroup size, rows per workgroup and storage order of the operands, and with `tail` the steps of a k that four does not divide. */
export function gemmSubgroupDefines(
  base: Defines,
  subgroup: number,
  rows: 4 | 16,
  transposed: { a: boolean; b: boolean },
  tail = false,
): Defines {
  const { T, ACT, MATH } = base as { T: string; ACT: string; MATH: string };
  return interned(`${T} ${ACT} ${subgroup} ${rows} ${transposed.a} ${transposed.b} ${tail}`, () => ({
    T,
    ACT,
    MATH,
    SG: subgroup,
    ROWS: rows,
    ROWS4: rows / 4,
    QUADS: Math.ceil(rows / subgroup),
    TA: transposed.a,
    TB: transposed.b,
    TAIL: tail,
  }));
}

export const gemmSubgroup = defineKernel({
  name: "gemm_subgroup",
  source: gemm_subgroup,
  enables: ["subgroups"],
  buffers: alwaysBias,
  params: { ...sizes, lda: "u32", ldb: "u32", ...bias },
  workgroup: ["SG", 1, 1],
  variants: [
    gemmSubgroupDefines(plain, 8, 16, { a: false, b: false }),
    gemmSubgroupDefines(full, 8, 16, { a: true, b: true }),
    gemmSubgroupDefines(plain, 4, 4, { a: true, b: false }),
    gemmSubgroupDefines(plain, 8, 16, { a: true, b: false }, true),
  ],
});

/** Grids of the kernels; `batch` goes to z. */
export const gemmGrid = {
  naive: (m: number, n: number, batch: number): [number, number, number] => {
    const [x, y] = linearGrid(m * n, 64);
    return [x, y, batch];
  },
  register: (m: number, n: number, batch: number): [number, number, number] => [
    Math.ceil(n / 32),
    Math.ceil(m / 32),
    batch,
  ],
  registerVec4: (m: number, n: number, batch: number): [number, number, number] => [
    Math.ceil(n / 32),
    Math.ceil(m / (8 * VEC4_ROWS)),
    batch,
  ],
  tiled: (m: number, n: number, batch: number): [number, number, number] => [
    Math.ceil(n / 64),
    Math.ceil(m / 64),
    batch,
  ],
  subgroup: (m: number, n: number, batch: number, subgroup: number, rows: number): [number, number, number] => [
    Math.ceil(n / (4 * subgroup)),
    Math.ceil(m / rows),
    batch,
  ],
};
