/** Layers under PyTorch's state-dict names. */
export { type Activation, activate, activationNamed } from "./activation.ts";
export { type AttentionOptions, multiHeadAttention } from "./attention.ts";
export { Constant } from "./constant.ts";
export { Conv2d, type Conv2dOptions } from "./conv.ts";
export { Dropout, DropPath } from "./dropout.ts";
export { Embedding } from "./embedding.ts";
export {
  drawInitial,
  fanInInit,
  type Initializer,
  nameHash,
  normalInit,
  onesInit,
  weightStream,
  zerosInit,
} from "./init.ts";
export { Linear, type LinearOptions } from "./linear.ts";
export {
  ATTENTION_PROJECTIONS,
  addLora,
  LoraAdapters,
  LoraLayer,
  type LoraOptions,
  loadLora,
  loraPaths,
  mergeablePaths,
  mergeLora,
} from "./lora.ts";
export { type LoadOptions, type LoadReport, Module, type StateValue } from "./module.ts";
export { GroupNorm, LayerNorm, unitRows } from "./norm.ts";
export { inParts, inRowParts } from "./parts.ts";
export { currentRandom, namedStream, withRandom } from "./random.ts";
export { readTensors, readValues } from "./read.ts";
export { recomputed } from "./recompute.ts";
export { fillSeeded, type SeededRule, seededRule, seededWeight, UNIT_RULE } from "./seeded.ts";
export { ParameterSlot, type SlotOptions } from "./slot.ts";
export { type DeviceEntry, type StreamOptions, streamTensors } from "./stream.ts";
export { TimestepEmbedding, Timesteps, type TimestepsOptions } from "./timestep.ts";
