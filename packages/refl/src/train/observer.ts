/** Looking on while a trainer works: which models take part, and each part of the training. */
import type { Module } from "@refl/models";

/**
 * What a training is made of. `step` is one update with its data, `look` a validation, `grid` a sample grid, `pictures` a batch of pictures to be ranked, `ranking`
 * what the annotator says of pictures, `end` what is measured of the model that is kept.
 */
export type TrainingPart = "step" | "look" | "grid" | "checkpoint" | "pictures" | "ranking" | "end";

/** Who looks on while a trainer works. */
export interface TrainingObserver {
  /** The models that take part, once it is settled which of their weights train. */
  models(models: Readonly<Record<string, Module>>): void;
  /** Surrounds a part of the training, which may have others in it. All that it asks of the device is done, or at least encoded, when it ends. */
  part<T>(part: TrainingPart, work: () => Promise<T>): Promise<T>;
}

/** Runs a part of a training, in the sight of an observer if there is one. */
export function observed<T>(
  observer: TrainingObserver | null | undefined,
  part: TrainingPart,
  work: () => Promise<T>,
): Promise<T> {
  return observer ? observer.part(part, work) : work();
}
