/** Conv ops. */
import type { ForwardTable } from "../op.ts";

export interface ConvAttrs {}

export const convForward = {} satisfies ForwardTable<ConvAttrs>;
