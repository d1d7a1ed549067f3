/** Embedding ops. */
import type { ForwardTable } from "../op.ts";

export interface EmbeddingAttrs {}

export const embeddingForward = {} satisfies ForwardTable<EmbeddingAttrs>;
