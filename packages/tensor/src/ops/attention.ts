/** Attention ops. */
import type { ForwardTable } from "../op.ts";

export interface AttentionAttrs {}

export const attentionForward = {} satisfies ForwardTable<AttentionAttrs>;
