/** Floor 2: the tape and its rules, checkpointing, parameters and optimisers; layers and models are upstairs. */
export { checkpoint, checkpointMany } from "./checkpoint.ts";
export { type GradcheckOptions, gradcheck } from "./gradcheck.ts";
export { Adam, type AdamOptions, AdamW, ExponentialMovingAverage, emaDecay, type StepState } from "./optimizer.ts";
export { type PackedEntry, Parameter, ParameterGroup, type ParameterGroupOptions, type Slab } from "./parameter.ts";
export { GradScaler, type GradScalerOptions } from "./scaler.ts";
export {
  type BackwardContext,
  type BackwardOptions,
  backward,
  grad,
  gradOf,
  isGradEnabled,
  Leaf,
  noGrad,
  type Rule,
  type RuleTable,
  recordNode,
  requireGrad,
  zeroGrad,
} from "./tape.ts";
