/** Embedding: rows of a table by id, with a deterministic gradient. */
import { embeddingGather, embeddingScatter, linearGrid } from "@refl/kernels-wgsl";
import { DTypeError, ShapeError } from "../errors.ts";
import { apply, type ForwardTable } from "../op.ts";
import { numel } from "../shape.ts";
import { Tensor } from "../tensor.ts";
import { contiguous } from "./copy.ts";

export interface EmbeddingAttrs {
  /** Inputs table [V, D], ids (i32) of any shape. */
  embedding: Record<never, never>;
  /** Inputs gradient [...ids, D], ids; the result has `rows` rows. */
  embeddingBackward: { readonly rows: number };
}

export const embeddingForward = {
  embedding: ([table, ids]) => {
    const [rows, width] = table!.shape as [number, number];
    const out = Tensor.empty(table!.device, [...ids!.shape, width], table!.dtype);
    const count = numel(ids!.shape);
    if (count * width === 0) return out;
    const [dense, flat] = [contiguous(table!), contiguous(ids!)];
    const params = { count, width, rows, offsetTable: dense.offset, offsetIds: flat.offset };
    out.device.run(
      embeddingGather,
      { T: table!.dtype },
      [dense.storage, flat.storage, out.storage],
      params,
      linearGrid(count * width, 64),
    );
    return out;
  },
  embeddingBackward: ([gradient, ids], { rows }) => {
    const width = gradient!.shape.at(-1)!;
    const out = Tensor.empty(gradient!.device, [rows, width], gradient!.dtype).fill_(0);
    const count = numel(ids!.shape);
    if (count * width === 0) return out;
    const [dense, flat] = [contiguous(gradient!), contiguous(ids!)];
    const params = { count, width, rows, offsetG: dense.offset, offsetIds: flat.offset };
    out.device.run(
      embeddingScatter,
      { T: gradient!.dtype },
      [dense.storage, flat.storage, out.storage],
      params,
      linearGrid(count * width, 64),
    );
    return out;
  },
} satisfies ForwardTable<EmbeddingAttrs>;

/**
 * Rows of `table` [V, D] by `ids` (i32, any shape) → [...ids, D], as `torch.nn.functional.embedding`. The device cannot throw: an id outside the
 * table gives zeros and no gradient. Throws ShapeError and DTypeError.
 */
export function embedding(table: Tensor, ids: Tensor): Tensor {
  if (table.rank !== 2) throw new ShapeError("embedding", [table.shape, ids.shape], "the table must be [rows, width]");
  if (ids.dtype !== "i32") throw new DTypeError("embedding", [table.dtype, ids.dtype], "ids must be i32");
  return apply("embedding", [table, ids], {});
}
