/** Floor 1: hosts, device, memory, command stream, tensors and forward ops; gradients and models are upstairs. */
export * from "./errors.ts";
export * from "./tensor.ts";
export { BYTES, type DType, decode, encode, fromHalf, type HostArrays, isFloat, toHalf } from "./dtype.ts";
export * from "./device.ts";
export { type Host, webHost } from "./host.ts";
export { type Forward, type ForwardTable, type Op, type OpAttrs, apply, applyAll, opNames, type Recorder, setRecorder } from "./op.ts";
export { cat, copyInto, cast, pad, stack } from "./ops/copy.ts";
export { binary, binaryLeft, clamp, fullLike, type ScalarAttrs, unary, where } from "./ops/elementwise.ts";
export { linear, matmul } from "./ops/matmul.ts";
export { amax, amin, argmax, type AxesArgument, mean, sum, variance } from "./ops/reduce.ts";
export { expand, permute, reshape, slice, split } from "./ops/view.ts";
export { PhiloxStream, philox4x32, toUniform } from "./philox.ts";
export type { MemoryReport, Storage } from "./pool.ts";
export { type History, keep, scope, trackHistory } from "./scope.ts";
export { broadcastShapes, contiguousStrides, isContiguous, normalizeAxes, normalizeAxis, numel, type Shape } from "./shape.ts";
