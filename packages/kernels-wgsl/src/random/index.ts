/** Random kernels: Philox fills (uniform, normal, integers) and ranking of words into a permutation. */
import { mathFor } from "../elementwise/math.ts";
import { type Defines, defineKernel } from "../kernel.ts";
import { random_fill, random_rank } from "../wgsl.gen.ts";

/** What a fill draws: `words` are raw 32-bit words. */
export type Draw = "uniform" | "normal" | "integer" | "words";

export function randomDefines(draw: Draw, output: "f32" | "f16" | "i32" | "u32"): Defines {
  return {
    WORDS: draw === "words",
    INTEGER: draw === "integer",
    NORMAL: draw === "normal",
    O: output,
    MATH: draw === "normal" ? mathFor("log_(x) sin_(x) cos_(x)") : "",
  };
}

export const randomFill = defineKernel({
  name: "random_fill",
  source: random_fill,
  buffers: [
    ["state", "read"],
    ["o", "read_write"],
  ],
  params: { rows: "u32", columns: "u32", bound: "u32", low: "i32", shift: "f32", scale: "f32" },
  workgroup: [64, 1, 1],
  variants: [
    randomDefines("uniform", "f32"),
    randomDefines("normal", "f32"),
    randomDefines("integer", "i32"),
    randomDefines("words", "u32"),
  ],
});

export const randomRank = defineKernel({
  name: "random_rank",
  source: random_rank,
  buffers: [
    ["words", "read"],
    ["o", "read_write"],
  ],
  params: { count: "u32" },
  workgroup: [64, 1, 1],
  variants: [{}],
});
