/** The table of token or position vectors. */
import { embedding, ShapeError, type Tensor } from "@refl/tensor";
import { type Initializer, normalInit } from "./init.ts";
import { Module } from "./module.ts";
import { ParameterSlot } from "./slot.ts";

/** Rows of a table by id. ids: i32 of any shape → [...ids, width]. */
export class Embedding extends Module<[ids: Tensor], Tensor> {
  readonly weight: ParameterSlot;

  /** @param weightInit default N(0, 1), PyTorch's */
  constructor(count: number, width: number, weightInit: Initializer = normalInit(1)) {
    super();
    this.weight = new ParameterSlot([count, width], weightInit);
  }

  protected override compute(ids: Tensor): Tensor {
    return embedding(this.weight.value, ids);
  }

  /** The first `length` rows, [length, width]: positions 0, 1, …. Throws ShapeError when the table is shorter. */
  first(length: number): Tensor {
    return this.run(() => {
      const { shape } = this.weight;
      if (length > shape[0]!)
        throw new ShapeError("embedding", [shape, [length]], `${length} positions, the table has ${shape[0]}`);
      return this.weight.value.slice(0, 0, length);
    });
  }
}
