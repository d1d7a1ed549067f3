/** The table of token or position vectors. */
import { cat, embedding, ShapeError, type Tensor, where } from "@refl/tensor";
import { type Initializer, normalInit } from "./init.ts";
import { Module } from "./module.ts";
import { ParameterSlot } from "./slot.ts";

/** Rows of a table by id. ids: i32 of any shape → [...ids, width]. A table beyond the device's largest binding is kept in several parts. */
export class Embedding extends Module<[ids: Tensor], Tensor> {
  readonly weight: ParameterSlot;
  readonly #paddingIndex: number | null;

  /**
   * @param weightInit default N(0, 1), PyTorch's
   * @param paddingIndex an id whose row is looked up but never learns, as `padding_idx` of `torch.nn.Embedding`
   */
  constructor(
    count: number,
    width: number,
    weightInit: Initializer = normalInit(1),
    { paddingIndex = null }: { readonly paddingIndex?: number | null } = {},
  ) {
    super();
    this.weight = new ParameterSlot([count, width], weightInit, { divisible: true });
    this.#paddingIndex = paddingIndex;
  }

  /** Ids that a part lacks give zeros there, so the parts' sum has each row once. */
  protected override compute(ids: Tensor): Tensor {
    let first = 0;
    const rows = this.weight.parts.map((part) => {
      const found = embedding(part.working, first ? ids.sub(first) : ids);
      first += part.shape[0]!;
      return found;
    });
    const found = rows.reduce((sum, part) => sum.add(part));
    if (this.#paddingIndex === null || !found.history) return found;
    return where(ids.ne(this.#paddingIndex).unsqueeze(-1), found, found.detach());
  }

  /** The first `length` rows, [length, width]: positions 0, 1, …. Throws ShapeError when the table is shorter. */
  first(length: number): Tensor {
    return this.run(() => {
      const { shape, parts } = this.weight;
      if (length > shape[0]!)
        throw new ShapeError("embedding", [shape, [length]], `${length} positions, the table has ${shape[0]}`);
      const rows = parts[0]!.shape[0]!;
      return (length <= rows ? parts[0]!.working : cat(parts.map((part) => part.working))).slice(0, 0, length);
    });
  }
}
