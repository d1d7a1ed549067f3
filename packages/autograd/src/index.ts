/** Floor 2: the tape and its rules, checkpointing, optimisers and gradient checks; layers and models are upstairs. */
export { Leaf, type BackwardContext, type BackwardOptions, backward, grad, gradOf, isGradEnabled, noGrad, recordNode, requireGrad, type Rule, type RuleTable, zeroGrad } from "./tape.ts";
