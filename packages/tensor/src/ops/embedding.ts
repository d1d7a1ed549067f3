/** Embedding: rows of a table by id. */
import {
  embeddingDefines,
  embeddingGather,
  embeddingGatherWide,
  embeddingLink,
  embeddingLinkWide,
  embeddingScatter,
  embeddingScatterWide,
  linearGrid,
} from "@refl/kernels-wgsl";
import { isFloat } from "../dtype.ts";
import { DTypeError, ShapeError } from "../errors.ts";
import { apply, type ForwardTable } from "../op.ts";
import { Tensor } from "../tensor.ts";
import { contiguous } from "./copy.ts";

export interface EmbeddingAttrs {
  /** Inputs: weight [V, D], ids i32 or u32 of any shape. */
  embedding: Record<never, never>;
  /** Inputs: gradient [...ids, D], ids. Output: the gradient of a table of `rows` rows. */
  embeddingBackward: { readonly rows: number };
}

type FloatType = "f32" | "f16";

/**
 * Elements looked up from which on a thread takes 16 of a row. On lavapipe 1,024 rows of 256 take 0.45 ms against 0.99, with the same bits; a GPU
 * needs the threads of the narrow kernels for less, and small models keep the pipelines that they have.
 */
const WIDE = 1 << 17;
/** Ids from which on they are compared four at a time: 0.36 ms against 0.70 for 1,024 on lavapipe, the only number that was timed. */
const MANY_IDS = 512;

const isWide = (count: number, width: number): boolean => count * width >= WIDE && width % 16 === 0;

export const embeddingForward = {
  embedding: ([weight, ids]) => {
    const [rows, width] = weight!.shape as [number, number];
    const out = Tensor.empty(weight!.device, [...ids!.shape, width], weight!.dtype);
    if (out.numel === 0) return out;
    const w = contiguous(weight!);
    const positions = contiguous(ids!);
    if (isWide(ids!.numel, width)) {
      const count = ids!.numel;
      const quarter = width / 16;
      out.device.run(
        embeddingGatherWide,
        { T: w.dtype },
        [w.storage, positions.storage, out.storage],
        { offset: w.offset / 4, offsetIds: positions.offset, rows, quarter, count },
        linearGrid(count * quarter, 64),
      );
      return out;
    }
    const per = width % 4 ? 1 : 4;
    out.device.run(
      embeddingGather,
      embeddingDefines(w.dtype as FloatType, per === 4),
      [w.storage, positions.storage, out.storage],
      {
        offset: w.offset / per,
        offsetIds: positions.offset,
        rows,
        columns: width / per,
        count: out.numel / per,
      },
      linearGrid(out.numel / per, 64),
    );
    return out;
  },
  embeddingBackward: ([gradient, ids], { rows }) => {
    const width = gradient!.shape.at(-1)!;
    const { device } = gradient!;
    const out = Tensor.empty(device, [rows, width], gradient!.dtype).fill_(0);
    const count = ids!.numel;
    if (out.numel === 0 || count === 0) return out;
    const g = contiguous(gradient!);
    const positions = contiguous(ids!);
    const next = Tensor.empty(device, [count], "u32");
    const later = Tensor.empty(device, [count], "u32").fill_(0);
    const offsetIds = positions.offset;
    const wideLink = count >= MANY_IDS && count % 4 === 0;
    device.run(
      wideLink ? embeddingLinkWide : embeddingLink,
      {},
      [positions.storage, next.storage, later.storage],
      wideLink ? { offsetIds: offsetIds / 4, blocks: count / 4 } : { offsetIds, count },
      linearGrid(count, 64),
    );
    if (isWide(count, width)) {
      const quarter = width / 16;
      device.run(
        embeddingScatterWide,
        { T: g.dtype },
        [g.storage, positions.storage, next.storage, later.storage, out.storage],
        { offset: g.offset / 4, offsetIds, rows, quarter, count },
        linearGrid(count * quarter, 64),
      );
      return out;
    }
    const per = width % 4 ? 1 : 4;
    device.run(
      embeddingScatter,
      embeddingDefines(g.dtype as FloatType, per === 4),
      [g.storage, positions.storage, next.storage, later.storage, out.storage],
      { offset: g.offset / per, offsetIds, rows, columns: width / per, count },
      linearGrid((count * width) / per, 64),
    );
    return out;
  },
} satisfies ForwardTable<EmbeddingAttrs>;

/**
 * Rows of `weight` by id, as `torch.nn.functional.embedding`. weight: [V, D] f32 or f16; ids: i32 or u32 of any shape → [...ids, D].
 * The device cannot throw: an id outside [0, V) gives zeros and no gradient. The gradient adds in the order of the ids. Throws ShapeError and DTypeError.
 */
export function embedding(weight: Tensor, ids: Tensor): Tensor {
  if (!isFloat(weight.dtype) || (ids.dtype !== "i32" && ids.dtype !== "u32")) {
    throw new DTypeError("embedding", [weight.dtype, ids.dtype], "weight must be f32 or f16 and ids i32 or u32");
  }
  if (weight.rank !== 2) throw new ShapeError("embedding", [weight.shape, ids.shape], "weight must be [V, D]");
  return apply("embedding", [weight, ids], {});
}
