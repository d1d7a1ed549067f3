/** Normalisation layers with learnt scale and shift. */
import { groupNorm, layerNorm, type Tensor } from "@refl/tensor";
import { onesInit, zerosInit } from "./init.ts";
import { Module } from "./module.ts";
import { ParameterSlot } from "./slot.ts";

/** Normalises the last axis. x: [..., width]. */
export class LayerNorm extends Module<[x: Tensor], Tensor> {
  readonly weight: ParameterSlot;
  readonly bias: ParameterSlot;
  readonly #eps: number;

  constructor(width: number, eps: number) {
    super();
    this.weight = new ParameterSlot([width], onesInit);
    this.bias = new ParameterSlot([width], zerosInit);
    this.#eps = eps;
  }

  protected override compute(x: Tensor): Tensor {
    return layerNorm(x, this.weight.value, this.bias.value, this.#eps);
  }
}

/** Normalises groups of channels over space, then applies the activation. x: [B, channels, …]. */
export class GroupNorm extends Module<[x: Tensor, activation?: "none" | "silu"], Tensor> {
  readonly weight: ParameterSlot;
  readonly bias: ParameterSlot;
  readonly groups: number;
  readonly eps: number;

  constructor(groups: number, channels: number, eps: number) {
    super();
    this.weight = new ParameterSlot([channels], onesInit);
    this.bias = new ParameterSlot([channels], zerosInit);
    this.groups = groups;
    this.eps = eps;
  }

  protected override compute(x: Tensor, activation: "none" | "silu" = "none"): Tensor {
    return groupNorm(x, this.groups, this.weight.value, this.bias.value, this.eps, activation);
  }
}

/** Rows scaled to unit length. x: [..., D]; a row of zeros stays zero. */
export function unitRows(x: Tensor): Tensor {
  return x.mul(x.square().sum(-1, true).add(1e-24).rsqrt());
}
