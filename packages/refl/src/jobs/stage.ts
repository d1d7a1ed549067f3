/** Stages with their times: a job's parts wrapped in `stage` and `stage-end` events. */
import type { Run, StageName } from "../events.ts";

/** Wall seconds by stage. */
export type StageSeconds = Partial<Record<StageName, number>>;

/** Runs a part as a stage and adds its time to `seconds`. */
export async function* inStage<Result>(
  stage: StageName,
  message: string,
  seconds: StageSeconds,
  part: () => Run<Result> | Promise<Result>,
): Run<Result> {
  yield { type: "stage", stage, message };
  const start = performance.now();
  const running = part();
  const result = running instanceof Promise ? await running : yield* running;
  const taken = (performance.now() - start) / 1000;
  seconds[stage] = (seconds[stage] ?? 0) + taken;
  yield { type: "stage-end", stage, seconds: taken };
  return result;
}
