/** Floor 1: hosts, device, memory, command stream, tensors and forward ops; gradients and models are upstairs. */

export * from "./device.ts";
export {
  addWork,
  DryDevice,
  type KernelUse,
  type ProductFamily,
  totalFlops,
  type Work,
  type WorkTotals,
  workBetween,
  workTotals,
} from "./dry.ts";
export { BYTES, type DType, decode, encode, type HostArrays, isFloat } from "./dtype.ts";
export * from "./errors.ts";
export * from "./half.ts";
export { type Host, webHost } from "./host.ts";
export {
  apply,
  applyAll,
  type Forward,
  type ForwardTable,
  type Op,
  type OpAttrs,
  opNames,
  type Recorder,
  setRecorder,
} from "./op.ts";
export type { AttentionAttrs } from "./ops/attention.ts";
export { type AttentionOptions, scaledDotProductAttention } from "./ops/attention.ts";
export type { ConvAttrs } from "./ops/conv.ts";
export { type Conv2dOptions, conv2d } from "./ops/conv.ts";
export type { CopyAttrs } from "./ops/copy.ts";
export { cast, cat, copyInto, pad, stack } from "./ops/copy.ts";
export type { ElementwiseAttrs } from "./ops/elementwise.ts";
export {
  binary,
  binaryLeft,
  clamp,
  clampBackward,
  fullLike,
  type ScalarAttrs,
  unary,
  where,
} from "./ops/elementwise.ts";
export type { EmbeddingAttrs } from "./ops/embedding.ts";
export { embedding } from "./ops/embedding.ts";
export type { MatmulAttrs } from "./ops/matmul.ts";
export { linear, matmul } from "./ops/matmul.ts";
export type { NormAttrs } from "./ops/norm.ts";
export { groupNorm, layerNorm, type NormActivation } from "./ops/norm.ts";
export { dropout, type RandomSource, rand, randint, randn, randperm } from "./ops/random.ts";
export type { ReduceAttrs } from "./ops/reduce.ts";
export { type AxesArgument, amax, amin, argmax, mean, sum, variance } from "./ops/reduce.ts";
export type { ResampleAttrs } from "./ops/resample.ts";
export { pixelShuffle, pixelUnshuffle, type ResizeOptions, resize, upsampleNearest2x } from "./ops/resample.ts";
export type { SoftmaxAttrs } from "./ops/softmax.ts";
export { type CrossEntropyOptions, crossEntropy, logSoftmax, softmax } from "./ops/softmax.ts";
export type { ViewAttrs } from "./ops/view.ts";
export { expand, permute, reshape, slice, split } from "./ops/view.ts";
export { PhiloxStream, philox4x32, toUniform } from "./philox.ts";
export type { Arena } from "./plan/arena.ts";
export { formatExplanation, type KernelCost, type PlanExplanation, type PlanMemory } from "./plan/explain.ts";
export {
  type CapturedFunction,
  type CaptureOptions,
  capture,
  type InputSpec,
  type InputSpecs,
  type InputTensors,
  type InputValues,
  type Outputs,
  Plan,
} from "./plan/plan.ts";
export {
  type HostTensor,
  type HostTensors,
  ReplayedFunction,
  type ReplayedOptions,
  toDevice,
  type Variant,
} from "./plan/replayed.ts";
export type { LabelledMemory, MemoryReport, Storage } from "./pool.ts";
export { chromeTrace, type KernelEvent, type KernelTime } from "./profile.ts";
export { type History, keep, scope, trackHistory } from "./scope.ts";
export {
  broadcastShapes,
  contiguousStrides,
  isContiguous,
  normalizeAxes,
  normalizeAxis,
  numel,
  type Shape,
} from "./shape.ts";
export * from "./tensor.ts";
export { FixedChooser, type KernelChoice, type KernelChooser } from "./tune/chooser.ts";
export { bucket, choiceKey } from "./tune/key.ts";
export { type KeyValueStorage, memoryTuneStore, type TuneStore, webTuneStore } from "./tune/store.ts";
export type { TuneDevice, TuneEntry, TuneTable } from "./tune/table.ts";
export { TUNE_MODES, type TuneMode, Tuner } from "./tune/tuner.ts";
