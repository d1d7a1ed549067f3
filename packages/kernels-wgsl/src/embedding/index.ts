/** Embedding: rows of a table by id, and the table's gradient without atomics. */
import { type Defines, defineKernel } from "../kernel.ts";
import {
  embedding_gather,
  embedding_gather_wide,
  embedding_link,
  embedding_link_wide,
  embedding_scatter,
  embedding_scatter_wide,
} from "../wgsl.gen.ts";

/** Defines of the gather and scatter kernels; with `vec4` columns and offsets are counted in vec4s. */
export function embeddingDefines(type: "f32" | "f16", vec4: boolean): Defines {
  return { T: type, E: vec4 ? `vec4<${type}>` : type, X: vec4 ? "vec4<f32>" : "f32" };
}

const variants = [embeddingDefines("f32", false), embeddingDefines("f32", true)];

export const embeddingGather = defineKernel({
  name: "embedding_gather",
  source: embedding_gather,
  buffers: [
    ["w", "read"],
    ["ids", "read"],
    ["o", "read_write"],
  ],
  params: { offset: "u32", offsetIds: "u32", rows: "u32", columns: "u32", count: "u32" },
  workgroup: [64, 1, 1],
  variants,
});

export const embeddingLink = defineKernel({
  name: "embedding_link",
  source: embedding_link,
  buffers: [
    ["ids", "read"],
    ["next", "read_write"],
    ["later", "read_write"],
  ],
  params: { offsetIds: "u32", count: "u32" },
  workgroup: [64, 1, 1],
  variants: [{}],
});

export const embeddingScatter = defineKernel({
  name: "embedding_scatter",
  source: embedding_scatter,
  buffers: [
    ["g", "read"],
    ["ids", "read"],
    ["next", "read"],
    ["later", "read"],
    ["o", "read_write"],
  ],
  params: { offset: "u32", offsetIds: "u32", rows: "u32", columns: "u32", count: "u32" },
  workgroup: [64, 1, 1],
  variants,
});

const wideVariants: readonly Defines[] = [{ T: "f32" }];

/** {@link embeddingGather} for rows of a multiple of 16 elements; `quarter` is a row's vec4s over four. */
export const embeddingGatherWide = defineKernel({
  name: "embedding_gather_wide",
  source: embedding_gather_wide,
  buffers: embeddingGather.buffers,
  params: { offset: "u32", offsetIds: "u32", rows: "u32", quarter: "u32", count: "u32" },
  workgroup: [64, 1, 1],
  variants: wideVariants,
});

/** {@link embeddingLink} for a multiple of four ids. */
export const embeddingLinkWide = defineKernel({
  name: "embedding_link_wide",
  source: embedding_link_wide,
  buffers: embeddingLink.buffers,
  params: { offsetIds: "u32", blocks: "u32" },
  workgroup: [64, 1, 1],
  variants: [{}],
});

/** {@link embeddingScatter} for rows of a multiple of 16 elements. */
export const embeddingScatterWide = defineKernel({
  name: "embedding_scatter_wide",
  source: embedding_scatter_wide,
  buffers: embeddingScatter.buffers,
  params: { offset: "u32", offsetIds: "u32", rows: "u32", quarter: "u32", count: "u32" },
  workgroup: [64, 1, 1],
  variants: wideVariants,
});
