/** A run's checkpoints as its trainer writes them and goes on from them. */
import type { ModelFolder } from "@refl/models";
import type { RunSink } from "../run/sink.ts";
import type { SaveOptions } from "../train/save.ts";

/** Checkpoints in the run's place, with the model as `model` writes it. */
export const savesIn = (sink: RunSink, every: number, model: SaveOptions["model"]): SaveOptions => ({
  every,
  model,
  checkpoint: async (step, write, best) => (await sink.writeCheckpoint(step, write, { best })).path,
});

/** What a trainer that goes on from the latest checkpoint of the run's place is given: nothing where there is none. */
export async function resumeFrom(sink: RunSink | null): Promise<{ readonly resume?: ModelFolder }> {
  const checkpoint = await sink?.findLatestCheckpoint();
  return checkpoint ? { resume: await sink!.openCheckpoint(checkpoint) } : {};
}
