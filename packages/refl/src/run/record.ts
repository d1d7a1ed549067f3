/** Keeps what a run's events tell in the run's place, while they pass on to whoever draws them. */
import type { Run } from "../events.ts";
import type { RunSink } from "./sink.ts";

/**
 * Passes the events of `run` on, and before each one keeps it: steps as lines of the metrics, sample grids as PNG files. Rejects with
 * `StorageError` when the place is full; `run` is then ended, as it is when the reader stops.
 */
export async function* recordRun<Result>(run: Run<Result>, sink: RunSink): Run<Result> {
  let ended = false;
  try {
    for (;;) {
      const next = await run.next();
      if (next.done) {
        ended = true;
        return next.value;
      }
      const event = next.value;
      if (event.type === "step") await sink.appendMetrics({ ...event.metrics, stage: event.stage, step: event.step });
      else if (event.type === "samples") await sink.writeSamples(event.stage, event.step, event.grid);
      yield event;
    }
  } finally {
    // A generator that threw has ended already; ending it again does nothing.
    if (!ended) await run.return(undefined as Result);
  }
}
