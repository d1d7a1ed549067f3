/** A run of any scheduler over tensors: which times the model is asked at, and how its outputs lead from noise to picture. */
import { noGrad } from "@refl/autograd";
import { DataError, scope, type Tensor } from "@refl/tensor";
import { DDIMScheduler } from "../schedulers/ddim.ts";
import { DDPMScheduler } from "../schedulers/ddpm.ts";
import type { StepCoefficients } from "../schedulers/noise-schedule.ts";
import { type MultistepCall, PNDMScheduler } from "../schedulers/pndm.ts";
import { previousSample } from "./scheduler-step.ts";

export type Scheduler = DDIMScheduler | DDPMScheduler | PNDMScheduler;

/**
 * A scheduler whose steps stand alone, as training through one step needs: PNDM's schedule sampled as DDPM does, which is what ReFL's published
 * code makes of Stable Diffusion's config; any other as it is.
 */
export function singleStepScheduler(scheduler: Scheduler): DDIMScheduler | DDPMScheduler {
  return scheduler instanceof PNDMScheduler ? new DDPMScheduler(scheduler.toConfig()) : scheduler;
}

type Call =
  | { readonly kind: "single"; readonly step: StepCoefficients }
  | { readonly kind: "multi"; readonly step: MultistepCall };

/**
 * The calls of one run. Multistep schedulers need earlier outputs and samples: those that a later call still needs are kept here, so calls come
 * in order, and `dispose` gives them back. Nothing is kept for gradients.
 */
export class Sampler {
  readonly #calls: readonly Call[];
  readonly #samples = new Map<number, Tensor>();
  readonly #outputs = new Map<number, Tensor>();
  #next = 0;

  /**
   * Sets the scheduler's timesteps.
   * @param eta share of DDPM's noise that a DDIM step adds; PNDM adds none
   * @param first call to begin with, where a run begins with a picture instead of noise alone
   * @throws DataError when the steps do not fit the schedule
   */
  constructor(scheduler: Scheduler, steps: number, eta = 0, first = 0) {
    const timesteps = scheduler.setTimesteps(steps).slice(first);
    if (scheduler instanceof PNDMScheduler) {
      if (eta !== 0) throw new DataError("sample", 0, "eta", `${eta} with PNDM, which adds no noise`);
      this.#calls = scheduler.calls(first).map((step) => ({ kind: "multi", step }));
      return;
    }
    this.#calls = Array.from(timesteps, (t) => ({
      kind: "single",
      step: scheduler instanceof DDIMScheduler ? scheduler.stepCoefficients(t, { eta }) : scheduler.stepCoefficients(t),
    }));
  }

  /** What the model is asked at, in order; PNDM asks more often than it has steps. */
  get timesteps(): readonly number[] {
    return this.#calls.map(({ step }) => step.timestep);
  }

  /** Whether a call draws noise. */
  isNoisy(call: number): boolean {
    const at = this.#calls[call];
    return at?.kind === "single" && at.step.prev.noise !== 0;
  }

  /**
   * From what a call saw, and what the model said, to what the next call sees. x, out, noise: one shape → that shape, which the caller disposes;
   * x and out stay the caller's. `noise` is needed where {@link isNoisy}.
   * @throws DataError when calls do not come in order
   */
  advance(call: number, x: Tensor, out: Tensor, noise: Tensor | null = null): Tensor {
    const at = this.#calls[call];
    if (!at || call !== this.#next) {
      throw new DataError("sampler", 0, "call", `${call}, the next of ${this.#calls.length} is ${this.#next}`);
    }
    this.#next++;
    if (at.kind === "single") return noGrad(() => scope(() => previousSample(at.step, x, out, noise).alias()));
    if (this.#isNeeded("sample", call)) this.#samples.set(call, x.alias());
    if (this.#isNeeded("output", call)) this.#outputs.set(call, out.alias());
    const result = noGrad(() => scope(() => this.#multistep(at.step, call, x, out).alias()));
    this.#forget();
    return result;
  }

  /** Gives back what is kept. */
  dispose(): void {
    for (const kept of [this.#samples, this.#outputs]) {
      for (const tensor of kept.values()) tensor.dispose();
      kept.clear();
    }
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #multistep(step: MultistepCall, call: number, x: Tensor, out: Tensor): Tensor {
    const terms = step.outputs.map((share) => {
      const of = share.call === call ? out : (this.#outputs.get(share.call) as Tensor);
      return of.mul(share.weight * step.output);
    });
    const base = step.base === call ? x : (this.#samples.get(step.base) as Tensor);
    return terms.reduce((sum, term) => sum.add(term), base.mul(step.sample));
  }

  /** Whether a call after the present one uses what call `of` had. */
  #isNeeded(what: "sample" | "output", of: number): boolean {
    return this.#calls.some(
      ({ kind, step }, later) =>
        later >= this.#next &&
        kind === "multi" &&
        (what === "sample" ? step.base === of && later !== of : step.outputs.some((share) => share.call === of)),
    );
  }

  #forget(): void {
    for (const [what, kept] of [
      ["sample", this.#samples],
      ["output", this.#outputs],
    ] as const) {
      for (const [call, tensor] of kept) {
        if (this.#isNeeded(what, call)) continue;
        tensor.dispose();
        kept.delete(call);
      }
    }
  }
}
