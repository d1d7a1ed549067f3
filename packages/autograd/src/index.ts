/** Floor 2: the tape and its rules, checkpointing, parameters and optimisers; layers and models are upstairs. */
export { checkpoint } from "./checkpoint.ts";
export { Adam, type AdamOptions, AdamW, emaDecay, ExponentialMovingAverage, type StepState } from "./optimizer.ts";
export { type PackedEntry, Parameter, ParameterGroup, type Slab } from "./parameter.ts";
export { type BackwardContext, type BackwardOptions, backward, grad, gradOf, isGradEnabled, Leaf, noGrad, recordNode, requireGrad, type Rule, type RuleTable, zeroGrad } from "./tape.ts";
