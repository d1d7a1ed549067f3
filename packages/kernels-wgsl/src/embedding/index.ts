/** Embedding kernels: rows of a table by id, and the sum of gradients by id. */
import { defineKernel } from "../kernel.ts";
import { embedding_gather, embedding_scatter } from "../wgsl.gen.ts";

export const embeddingGather = defineKernel({
  name: "embedding_gather",
  source: embedding_gather,
  buffers: [
    ["table", "read"],
    ["ids", "read"],
    ["o", "read_write"],
  ],
  params: { count: "u32", width: "u32", rows: "u32", offsetTable: "u32", offsetIds: "u32" },
  workgroup: [64, 1, 1],
  variants: [{ T: "f32" }],
});

export const embeddingScatter = defineKernel({
  name: "embedding_scatter",
  source: embedding_scatter,
  buffers: [
    ["g", "read"],
    ["ids", "read"],
    ["o", "read_write"],
  ],
  params: { count: "u32", width: "u32", rows: "u32", offsetG: "u32", offsetIds: "u32" },
  workgroup: [64, 1, 1],
  variants: [{ T: "f32" }],
});
