/** Rate, smoothed loss and time left of a stage, from its step events. */
import type { StepEvent } from "@refl/refl";

/** Steps at the start of a stage that are left out of the rate: they compile shaders and fill pools. */
const WARM_UP_STEPS = 2;

/** The rate is that of about so many recent steps. */
const RECENT_STEPS = 20;

/** Weight of the newest value in the smoothed loss. */
const LOSS_WEIGHT = 0.1;

/** Where a stage stands. */
export interface ProgressState {
  /** Steps per second after the warm-up steps; `undefined` during them. */
  readonly rate: number | undefined;
  /** Moving average of the loss without the bias of its start; `undefined` when the steps tell no loss. */
  readonly loss: number | undefined;
  /** Seconds since the stage began. */
  readonly elapsed: number;
  /** Seconds that are left; `undefined` while there is no rate. */
  readonly eta: number | undefined;
}

/** Follows one stage. `start` and all times are milliseconds of one steady clock. */
export class ProgressMeter {
  readonly #start: number;
  /** When recent steps ended, those of the warm-up left out but for the last of them. */
  #ends: { readonly step: number; readonly time: number }[] = [];
  #seen = 0;
  #last = 0;
  #smoothed = 0;
  #weight = 0;

  constructor(start: number) {
    this.#start = start;
  }

  /** Takes one step that ended at `now`. A step number that is no higher than the one before begins a new count in the same stage. */
  step(event: StepEvent, now: number): ProgressState {
    if (event.step <= this.#last) this.#ends = [];
    this.#last = event.step;
    if (++this.#seen >= WARM_UP_STEPS) this.#ends.push({ step: event.step, time: now });
    if (this.#ends.length > RECENT_STEPS + 1) this.#ends.shift();
    const loss = event.metrics["loss"];
    if (loss !== undefined) {
      this.#smoothed += LOSS_WEIGHT * (loss - this.#smoothed);
      this.#weight += LOSS_WEIGHT * (1 - this.#weight);
    }
    const first = this.#ends[0];
    const seconds = first ? (now - first.time) / 1000 : 0;
    const rate = first && seconds > 0 ? (event.step - first.step) / seconds : undefined;
    return {
      rate,
      loss: this.#weight ? this.#smoothed / this.#weight : undefined,
      elapsed: (now - this.#start) / 1000,
      eta: rate === undefined ? undefined : (event.total - event.step) / rate,
    };
  }
}
