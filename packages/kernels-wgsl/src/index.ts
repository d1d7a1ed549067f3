/** Floor 0: WGSL kernels, their declarations and dispatch arithmetic, and float64 references; no device and no tensors here. */
export * from "./attention/index.ts";
export * from "./conv/index.ts";
export * from "./copy/index.ts";
export * from "./elementwise/index.ts";
export * from "./embedding/index.ts";
export { flopsOf } from "./flops.ts";
export * from "./kernel.ts";
export * from "./matmul/index.ts";
export * from "./matmul/quad.ts";
export * from "./norm/index.ts";
export * from "./optimizer/index.ts";
export * from "./random/index.ts";
export * from "./reduce/index.ts";
export type { RowLanes, RowLayout } from "./reduce/rows.ts";
export * from "./reduce/sum.ts";
export * from "./resample/index.ts";
export { cutIntoRuns, runDefines } from "./runs.ts";
export * from "./softmax/index.ts";
