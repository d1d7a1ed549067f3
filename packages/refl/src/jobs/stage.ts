/** Stages with their times: a job's parts wrapped in `stage` and `stage-end` events, the compilation of shaders inside them told apart. */
import type { Device } from "@refl/tensor";
import type { Run, RunEvent, StageName } from "../events.ts";

/** Wall seconds by stage. What shaders took is under `compile` and in no other stage. */
export type StageSeconds = Partial<Record<StageName, number>>;

/** Stages whose first step usually needs shaders that nothing before it needed: compilation is announced before it. */
const ANNOUNCED: ReadonlySet<StageName> = new Set(["base", "pretrain", "generate", "reward", "refl", "score"]);

/** Shorter compilations are not told, and count as the stage's own time. In seconds. */
const LEAST_TOLD = 0.1;

/**
 * Runs a part as a stage and adds its time to `seconds`. What `device` compiles meanwhile becomes a `compile` stage inside the part's: from its beginning
 * to its first step, and again whenever later steps compile more. Its seconds are those that the host spent compiling.
 */
export async function* inStage<Result>(
  stage: StageName,
  message: string,
  seconds: StageSeconds,
  device: Pick<Device, "counters">,
  part: () => Run<Result> | Promise<Result>,
): Run<Result> {
  yield { type: "stage", stage, message };
  const start = performance.now();
  const shaders = new ShaderTime(stage, device);
  yield* shaders.announce();
  const running = part();
  const result = running instanceof Promise ? await running : yield* relay(running, shaders);
  yield* shaders.tell();
  const taken = (performance.now() - start) / 1000 - shaders.told;
  if (shaders.told > 0) seconds.compile = (seconds.compile ?? 0) + shaders.told;
  seconds[stage] = (seconds[stage] ?? 0) + taken;
  yield { type: "stage-end", stage, seconds: taken };
  return result;
}

/** Passes a run's events on, each step's compilation before the step. */
async function* relay<Result>(run: Run<Result>, shaders: ShaderTime): Run<Result> {
  let ended = false;
  try {
    for (;;) {
      const next = await run.next();
      if (next.done) {
        ended = true;
        return next.value;
      }
      if (next.value.type === "step") yield* shaders.tell();
      yield next.value;
    }
  } finally {
    // A generator that threw has ended already; ending it again does nothing.
    if (!ended) await run.return(undefined as Result);
  }
}

/** What a device compiles during one stage. */
class ShaderTime {
  readonly #stage: StageName;
  readonly #device: Pick<Device, "counters">;
  readonly #before: number;
  #announced = false;
  /** Seconds told so far. */
  told = 0;

  constructor(stage: StageName, device: Pick<Device, "counters">) {
    this.#stage = stage;
    this.#device = device;
    this.#before = device.counters.compileSeconds;
  }

  *announce(): Generator<RunEvent, void, void> {
    if (!ANNOUNCED.has(this.#stage)) return;
    this.#announced = true;
    yield this.#begin();
  }

  /** Tells what was compiled since it last told. */
  *tell(): Generator<RunEvent, void, void> {
    const fresh = this.#device.counters.compileSeconds - this.#before - this.told;
    if (!this.#announced && fresh < LEAST_TOLD) return;
    if (!this.#announced) yield this.#begin();
    this.#announced = false;
    this.told += fresh;
    yield { type: "stage-end", stage: "compile", seconds: fresh };
  }

  #begin(): RunEvent {
    return { type: "stage", stage: "compile", message: `for the stage ${this.#stage}` };
  }
}
