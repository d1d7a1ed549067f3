/** Looking on while a training is rehearsed on a device that computes nothing: what its memory is for, and the work of each of its parts. */
import type { Module } from "@refl/models";
import { addWork, type DryDevice, type Work, workBetween } from "@refl/tensor";
import type { RunEvent, StageName } from "../events.ts";
import type { TrainingObserver, TrainingPart } from "../train/observer.ts";

/** Weights of a model, in elements. */
export interface ModelWeights {
  readonly model: string;
  readonly trained: number;
  readonly frozen: number;
}

/** What the memory of a run is for. */
export const MEMORY_PARTS = [
  "trained weights",
  "frozen weights",
  "gradients",
  "optimiser state",
  "moving average",
  "best weights so far",
  "activations",
  "kernel parameters and inputs",
] as const;

/** Bytes of each part at the moment when the run has most in use. Activations are those saved for the way back and all temporary values. */
export type MemoryByPart = Readonly<Record<(typeof MEMORY_PARTS)[number], number>>;

/** A part of a training with what it asks of the device. */
export interface PartWork {
  readonly stage: StageName;
  readonly part: TrainingPart;
  readonly work: Work;
}

const NO_WORK: Work = new Map();

/** Watches a training on a dry device: where its memory and its work go. */
export class Watch implements TrainingObserver {
  readonly #device: DryDevice;
  readonly #models = new Map<string, ModelWeights>();
  /** State-dict keys of all weights: what storages outside of the packed ones are labelled with. */
  readonly #keys = new Set<string>();
  readonly #parts: PartWork[] = [];
  /** Work of parts inside of those that are under way. */
  readonly #inside: Work[] = [];
  #peak = 0;
  #stage: StageName = "load";
  /** The stage of the last event before which the peak rose. */
  #peakStage = "";

  constructor(device: DryDevice) {
    this.#device = device;
  }

  models(models: Readonly<Record<string, Module>>): void {
    for (const [model, module] of Object.entries(models)) {
      const sizes = { trained: 0, frozen: 0 };
      for (const [key, slot] of module.namedSlots()) {
        for (const [name] of slot.named(key)) this.#keys.add(name);
        this.#keys.add(key);
        sizes[slot.frozen ? "frozen" : "trained"] += slot.shape.reduce((product, size) => product * size, 1);
      }
      if (!this.#models.has(model)) this.#models.set(model, { model, ...sizes });
    }
  }

  async part<T>(part: TrainingPart, work: () => Promise<T>): Promise<T> {
    const before = this.#device.work;
    this.#inside.push(NO_WORK);
    const stage = this.#stage;
    const result = await work();
    const all = workBetween(before, this.#device.work);
    const inside = this.#inside.pop()!;
    const outer = this.#inside.length - 1;
    if (outer >= 0) this.#inside[outer] = addWork(this.#inside[outer]!, all);
    this.#parts.push({ stage, part, work: workBetween(inside, all) });
    return result;
  }

  event(event: RunEvent): void {
    const { peak } = this.#device.memory();
    if (peak > this.#peak) this.#peakStage = this.#stage;
    this.#peak = peak;
    if (event.type === "stage" && event.stage !== "compile") this.#stage = event.stage;
  }

  get parameters(): ModelWeights[] {
    return [...this.#models.values()];
  }

  /** Every part in the order of their ends, without the parts inside it. */
  get parts(): readonly PartWork[] {
    return this.#parts;
  }

  get peakStage(): string {
    return this.#peakStage;
  }

  get memory(): MemoryByPart {
    const parts = Object.fromEntries(MEMORY_PARTS.map((part) => [part, 0])) as Record<keyof MemoryByPart, number>;
    for (const { label, bytes } of this.#device.atPeak) parts[this.#partOf(label)] += bytes;
    return parts;
  }

  #partOf(label: string): keyof MemoryByPart {
    if (this.#keys.has(label)) return "frozen weights";
    if (label.startsWith("input ")) return "kernel parameters and inputs";
    return PARTS_BY_LABEL[label] ?? "activations";
  }
}

const PARTS_BY_LABEL: Readonly<Record<string, keyof MemoryByPart>> = {
  parameters: "trained weights",
  "f16 parameters": "trained weights",
  gradients: "gradients",
  optimizer: "optimiser state",
  ema: "moving average",
  snapshot: "best weights so far",
  "plan parameters": "kernel parameters and inputs",
  constant: "kernel parameters and inputs",
};
