/** When a trainer leaves checkpoints, and what they are made of. */
import type { WritableModelFolder } from "@refl/models";

export interface SaveOptions {
  /** Steps from one checkpoint to the next; one more comes at the end. */
  readonly every: number;
  /** Keeps the files that `write` writes as the checkpoint of `step`, all or none, and gives back its path. One that is `best` is kept whatever comes after it. */
  readonly checkpoint: (
    step: number,
    write: (folder: WritableModelFolder) => Promise<void>,
    best: boolean,
  ) => Promise<string>;
  /** Writes the model, whose weights are then those to be saved, beside the training state. */
  readonly model: (folder: WritableModelFolder) => Promise<void>;
}
