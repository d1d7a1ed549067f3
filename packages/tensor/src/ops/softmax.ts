/** Softmax ops. */
import type { ForwardTable } from "../op.ts";

export interface SoftmaxAttrs {}

export const softmaxForward = {} satisfies ForwardTable<SoftmaxAttrs>;
