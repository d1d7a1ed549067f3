/** The linear layer. */
import { linear, type Tensor } from "@refl/tensor";
import { type Activation, activate } from "./activation.ts";
import { fanInInit, type Initializer } from "./init.ts";
import { Module } from "./module.ts";
import { ParameterSlot } from "./slot.ts";

export interface LinearOptions {
  /** Default true. */
  readonly bias?: boolean;
  /** Default: U(±1/√inFeatures), PyTorch's. */
  readonly weightInit?: Initializer;
  /** Default: as the weight's default. */
  readonly biasInit?: Initializer;
}

/** y = activation(x · weightᵀ + bias). x: [..., inFeatures] → [..., outFeatures]. */
export class Linear extends Module<[x: Tensor, activation?: Activation], Tensor> {
  readonly inFeatures: number;
  readonly outFeatures: number;
  readonly weight: ParameterSlot;
  readonly bias: ParameterSlot | null;
  #adapter: Module<[x: Tensor], Tensor> | null = null;

  constructor(inFeatures: number, outFeatures: number, options: LinearOptions = {}) {
    super();
    const standard = fanInInit(inFeatures);
    this.inFeatures = inFeatures;
    this.outFeatures = outFeatures;
    this.weight = new ParameterSlot([outFeatures, inFeatures], options.weightInit ?? standard);
    this.bias = (options.bias ?? true) ? new ParameterSlot([outFeatures], options.biasInit ?? standard) : null;
  }

  /** What is added to x · weightᵀ + bias, such as a low-rank adapter; its weights belong to who put it here, not to this layer. */
  get adapter(): Module<[x: Tensor], Tensor> | null {
    return this.#adapter;
  }

  set adapter(adapter: Module<[x: Tensor], Tensor> | null) {
    this.#adapter = adapter;
  }

  protected override compute(x: Tensor, activation: Activation = "none"): Tensor {
    const [weight, bias] = [this.weight.value, this.bias?.value ?? null];
    if (!this.#adapter) return linear(x, weight, bias, activation);
    return activate(linear(x, weight, bias).add(this.#adapter.forward(x)), activation);
  }
}
