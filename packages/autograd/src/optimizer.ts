/** Optimisers over packed groups: Adam and AdamW in one fused update, global-norm clipping, and the moving average of weights. */
import { adamKernel, clipCoefficient, emaKernel, linearGrid, squareSum, squareSumThreads } from "@refl/kernels-wgsl";
import { keep, Tensor } from "@refl/tensor";
import type { ParameterGroup } from "./parameter.ts";
import type { GradScaler } from "./scaler.ts";

export interface AdamOptions {
  /** Default 1e-3. */
  lr?: number;
  betas?: readonly [number, number];
  /** Default 1e-8. */
  eps?: number;
  /** AdamW: 0.01, decoupled from the gradient. Adam: 0, added to the gradient. */
  weightDecay?: number;
  /** Largest global norm of the gradients; 0 never clips. */
  maxNorm?: number;
  /** Scales the losses whose gradients the optimiser gets; each step divides by its factor before anything else, and adapts it. */
  scaler?: GradScaler | null;
}

/** What a step did, on the device: read it back when it is needed. */
export interface StepState {
  /** f32 [4]: clip coefficient (over the loss's scale), 1 when all gradients were finite else 0, their global norm, the loss's scale or 0 where it has none. */
  readonly control: Tensor;
}

/** Threads over vec4s: four to a thread, 64 threads to a workgroup. */
const grid = (count: number): [number, number, number] => linearGrid(count / 4, 256);

/**
 * Adam (Kingma & Ba 2015) or AdamW (Loshchilov & Hutter 2019), equal to PyTorch's. One dispatch per slab.
 * A step whose gradients hold NaN or infinity, or whose sum of squares overflows, writes nothing, but counts. Learning rate and step count reach the kernel as data.
 */
class AdamBase {
  readonly group: ParameterGroup;
  readonly #decoupled: boolean;
  readonly #hyper: Tensor;
  readonly #control: Tensor;
  readonly #partial: Tensor;
  /** First and second moments, laid out as the group's slabs. */
  readonly moments: { readonly first: readonly Tensor[]; readonly second: readonly Tensor[] };
  /** May change between steps, all but `maxNorm` and `scaler`, which are a part of captured steps. */
  options: Required<Omit<AdamOptions, "maxNorm" | "scaler">> &
    Readonly<Required<Pick<AdamOptions, "maxNorm" | "scaler">>>;
  /** Steps taken; part of the optimiser's state. */
  steps = 0;

  constructor(group: ParameterGroup, options: AdamOptions, decoupled: boolean) {
    const { device } = group.slabs[0]!.values;
    this.group = group;
    this.#decoupled = decoupled;
    this.options = {
      lr: 1e-3,
      betas: [0.9, 0.999],
      eps: 1e-8,
      weightDecay: decoupled ? 0.01 : 0,
      maxNorm: 0,
      scaler: null,
      ...options,
    };
    this.moments = { first: group.like(0, "optimizer"), second: group.like(0, "optimizer") };
    this.#hyper = keep(Tensor.empty(device, [8]));
    this.#control = keep(Tensor.empty(device, [4]));
    const threads = group.slabs.reduce((sum, { count }) => sum + squareSumThreads(count / 4), 0);
    this.#partial = keep(Tensor.empty(device, [threads]));
  }

  /** Computes the gradients' global norm, clip coefficient and finiteness on the device. */
  #norm(): void {
    const { device } = this.#control;
    let first = 0;
    for (const { gradients, count } of this.group.slabs) {
      const threads = squareSumThreads(count / 4);
      device.run(squareSum, {}, [gradients.storage, this.#partial.storage], { count4: count / 4, threads, first }, [
        Math.ceil(threads / 64),
        1,
        1,
      ]);
      first += threads;
    }
    const { scaler } = this.options;
    device.run(
      clipCoefficient,
      scaler ? { SCALED: true } : {},
      [this.#partial.storage, this.#control.storage, ...(scaler ? [scaler.state.storage] : [])],
      { count: first, limit: this.options.maxNorm },
      [1, 1, 1],
    );
  }

  /** Takes one step from the accumulated gradients, which stay until `zeroGrad()`: {@link prepare}, then {@link apply}. */
  step(): StepState {
    this.prepare();
    return this.apply();
  }

  /** The host's part of a step: counts it and writes its rates. A captured step needs it before each replay. */
  prepare(): void {
    const { lr, betas, eps, weightDecay } = this.options;
    this.steps++;
    const [beta1, beta2] = betas;
    // 1 − β is taken here: in f32 it would lose four digits of β2 = 0.999.
    this.#hyper.write_([
      lr,
      1 - beta1,
      beta2,
      1 - beta2,
      1 - beta1 ** this.steps,
      1 - beta2 ** this.steps,
      eps,
      weightDecay,
    ]);
  }

  /** The device's part of a step, which can be captured. */
  apply(): StepState {
    this.#norm();
    this.group.slabs.forEach(({ values, gradients, count }, i) => {
      const storages = [
        values,
        gradients,
        this.moments.first[i]!,
        this.moments.second[i]!,
        this.#hyper,
        this.#control,
      ].map((t) => t.storage);
      values.device.run(adamKernel, { DECOUPLED: this.#decoupled }, storages, { count4: count / 4 }, grid(count));
    });
    this.group.publish();
    return { control: this.#control };
  }

  zeroGrad(setToNone = true): void {
    this.group.zeroGrad(setToNone);
  }

  /** The moments by parameter name, as views: `exp_avg.<name>` and `exp_avg_sq.<name>`. The caller disposes of the views. */
  state(): Map<string, Tensor> {
    const views = new Map<string, Tensor>();
    for (const { name, parameter, slab, offset } of this.group.entries) {
      views.set(`exp_avg.${name}`, this.group.view(this.moments.first[slab]!, parameter, offset));
      views.set(`exp_avg_sq.${name}`, this.group.view(this.moments.second[slab]!, parameter, offset));
    }
    return views;
  }

  dispose(): void {
    for (const t of [...this.moments.first, ...this.moments.second, this.#hyper, this.#control, this.#partial])
      t.dispose();
  }
}

/** AdamW: weight decay apart from the gradient. */
export class AdamW extends AdamBase {
  constructor(group: ParameterGroup, options: AdamOptions = {}) {
    super(group, options, true);
  }
}

/** Adam: weight decay, if any, as an L2 term of the gradient. */
export class Adam extends AdamBase {
  constructor(group: ParameterGroup, options: AdamOptions = {}) {
    super(group, options, false);
  }
}

/** The moving average of a group's weights: e ← e + (1 − decay)(w − e). */
export class ExponentialMovingAverage {
  readonly group: ParameterGroup;
  readonly averages: readonly Tensor[];
  readonly #decay: Tensor;
  #held: Tensor[] | null = null;

  constructor(group: ParameterGroup) {
    this.group = group;
    this.averages = group.like("values", "ema");
    this.#decay = keep(Tensor.empty(group.slabs[0]!.values.device, [1]));
  }

  /** Moves the average towards the weights: {@link prepare}, then {@link apply}. */
  update(decay: number): void {
    this.prepare(decay);
    this.apply();
  }

  /** The host's part of an update: writes the decay. A captured update needs it before each replay. */
  prepare(decay: number): void {
    this.#decay.write_([decay]);
  }

  /** The device's part of an update, which can be captured; it does nothing where `step` says that the optimiser refused its step. */
  apply(step?: StepState): void {
    const data = step ? [this.#decay, step.control] : [this.#decay];
    this.group.slabs.forEach(({ values, count }, i) => {
      values.device.run(
        emaKernel,
        step ? { CONTROLLED: true } : {},
        [this.averages[i]!, values, ...data].map((t) => t.storage),
        { count4: count / 4 },
        grid(count),
      );
    });
  }

  /** Puts the averages in the weights' place until {@link restore}: for sampling, evaluation and saving. */
  swapIn(): void {
    if (this.#held) throw new TypeError("the averages are in place already");
    this.#held = this.group.like("values", "ema");
    this.group.slabs.forEach(({ values }, i) => void values.copy_(this.averages[i]!));
    this.group.publish();
  }

  restore(): void {
    if (!this.#held) throw new TypeError("swapIn() comes before restore()");
    const held = this.#held;
    this.group.slabs.forEach(({ values }, i) => {
      values.copy_(held[i]!);
      held[i]!.dispose();
    });
    this.#held = null;
    this.group.publish();
  }

  /** The averages by parameter name, as views that the caller disposes of. */
  state(): Map<string, Tensor> {
    return new Map(
      this.group.entries.map(({ name, parameter, slab, offset }) => [
        name,
        this.group.view(this.averages[slab]!, parameter, offset),
      ]),
    );
  }

  dispose(): void {
    for (const t of [...this.averages, ...(this.#held ?? []), this.#decay]) t.dispose();
    this.#held = null;
  }
}

/** diffusers' EMA decay for step s ≥ 1: 0 at first, then min(limit, s / (9 + s)). */
export function emaDecay(step: number, limit: number): number {
  const s = Math.max(0, step - 1);
  return s === 0 ? 0 : Math.min(limit, (1 + s) / (10 + s));
}
