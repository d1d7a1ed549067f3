/** Norm ops. */
import type { ForwardTable } from "../op.ts";

export interface NormAttrs {}

export const normForward = {} satisfies ForwardTable<NormAttrs>;
