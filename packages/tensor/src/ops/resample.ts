/** Resample ops. */
import type { ForwardTable } from "../op.ts";

export interface ResampleAttrs {}

export const resampleForward = {} satisfies ForwardTable<ResampleAttrs>;
