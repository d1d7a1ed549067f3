/** The two-dimensional convolution layer. */
import { conv2d, type Tensor } from "@refl/tensor";
import { fanInInit, type Initializer } from "./init.ts";
import { Module } from "./module.ts";
import { ParameterSlot } from "./slot.ts";

export interface Conv2dOptions {
  /** Default 1. */
  readonly stride?: number;
  /** Zeros on each side. Default 0. */
  readonly padding?: number;
  /** Default true. */
  readonly bias?: boolean;
  /** Default: U(±1/√fanIn), PyTorch's. */
  readonly weightInit?: Initializer;
  /** Default: as the weight's default. */
  readonly biasInit?: Initializer;
}

/** Cross-correlation with a square kernel. x: [B, in, H, W] → [B, out, H', W'], H' = ⌊(H + 2·padding − kernel)/stride⌋ + 1. */
export class Conv2d extends Module<[x: Tensor], Tensor> {
  readonly weight: ParameterSlot;
  readonly bias: ParameterSlot | null;
  readonly stride: number;
  readonly padding: number;

  constructor(inChannels: number, outChannels: number, kernelSize: number, options: Conv2dOptions = {}) {
    super();
    const standard = fanInInit(inChannels * kernelSize * kernelSize);
    const shape = [outChannels, inChannels, kernelSize, kernelSize];
    this.weight = new ParameterSlot(shape, options.weightInit ?? standard);
    this.bias = (options.bias ?? true) ? new ParameterSlot([outChannels], options.biasInit ?? standard) : null;
    this.stride = options.stride ?? 1;
    this.padding = options.padding ?? 0;
  }

  protected override compute(x: Tensor): Tensor {
    return conv2d(x, this.weight.value, this.bias?.value ?? null, { stride: this.stride, padding: this.padding });
  }
}
