/** What a command on the device runs in: the device as a stage of its own, the job's context on Node, and the run's folder. */
import process from "node:process";
import { localModelPath, nodeFolder } from "@refl/models/node";
import {
  type JobContext,
  type Json,
  type Run,
  type RunEvent,
  type RunSink,
  recordRun,
  type StageName,
  toJson,
} from "@refl/refl";
import {
  createRunFolder,
  hostPeakBytes,
  modelFolderAt,
  modelPlaceAt,
  openRunFolder,
  type RunFolder,
  shippedModels,
  softwareVersions,
} from "@refl/refl/node";
import {
  createDevice,
  type DebugLevel,
  type Device,
  ReflError,
  type TuneCacheWarning,
  type TuneMode,
} from "@refl/tensor";
import { fileTuneStore, nodeHost, tuneFolder } from "@refl/tensor/node";
import manifest from "../package.json" with { type: "json" };

/** The level that `REFL_DEBUG` asks for. Throws {@link ReflError} when it is none. */
export function debugLevel(text: string | undefined): DebugLevel {
  if (!text) return 0;
  if (!/^[0-4]$/.test(text)) throw new ReflError("usage", `REFL_DEBUG=${text}: must be a number from 0 to 4`, 2);
  return Number(text) as DebugLevel;
}

/** Makes the device, whose kernels are chosen by `tune`, runs `work` on it, and gives the device back however the work ends. Throws `NoAdapterError`. */
export async function* onDevice<Result>(work: (device: Device) => Run<Result>, tune: TuneMode = "off"): Run<Result> {
  const start = performance.now();
  yield { type: "stage", stage: "device" };
  const warnings: TuneCacheWarning[] = [];
  const device = await createDevice({
    host: nodeHost(),
    debug: debugLevel(process.env["REFL_DEBUG"]),
    tune,
    tuneStore: fileTuneStore(tuneFolder()),
    warn: (warning) => void warnings.push(warning),
  });
  const told = (): RunEvent[] => warnings.splice(0).map(({ message }) => ({ type: "warning", message }));
  try {
    yield { type: "stage-end", stage: "device", seconds: (performance.now() - start) / 1000 };
    yield* told();
    const result = yield* work(device);
    await device.settleTuning();
    yield* told();
    return result;
  } finally {
    device.dispose();
  }
}

/** The context of a job on Node. */
export function jobContext(device: Device, sink: RunSink | null, signal: AbortSignal): JobContext {
  return {
    device,
    sink,
    signal,
    shipped: shippedModels,
    open: async (path) => nodeFolder(await modelFolderAt(await localModelPath(path))),
    place: async (path) => modelPlaceAt(await localModelPath(path)),
    hostPeakBytes,
    versions: { refl: manifest.version, ...softwareVersions() },
  };
}

/** The config values that say where a run is kept. */
export interface RunPlace {
  readonly name: string;
  readonly out: string;
  readonly keepCheckpoints?: number;
  readonly tune?: TuneMode;
}

/** A run's folder, and whether the run goes on from a checkpoint in it. */
export interface OpenedRun {
  readonly sink: RunFolder;
  readonly resumed: boolean;
}

/** A run to go on with, and the stage whose steps its checkpoints count. */
export interface ResumedRun {
  readonly folder: string;
  readonly stage: StageName;
}

/**
 * A new run folder, or with `resume` that folder, its metrics cut to its latest checkpoint. The resolved config is written either way:
 * a resumed run may have been given more steps.
 */
export async function openRun(config: RunPlace, resume?: ResumedRun): Promise<OpenedRun> {
  const json: Json = toJson(config);
  const options = config.keepCheckpoints === undefined ? {} : { keep: config.keepCheckpoints };
  if (resume === undefined)
    return { sink: await createRunFolder(config.out, config.name, json, options), resumed: false };
  const sink = await openRunFolder(resume.folder, options);
  const checkpoint = await sink.findLatestCheckpoint();
  await sink.truncateMetrics(resume.stage, checkpoint?.step ?? 0);
  await sink.writeConfig(json);
  return { sink, resumed: checkpoint !== undefined };
}

/** Runs a job on the device with its events kept in the run's folder, of which nothing stays when the job fails before it began. */
export function recordedJob<Result>(
  config: RunPlace,
  resume: ResumedRun | undefined,
  signal: AbortSignal,
  job: (context: JobContext, run: OpenedRun) => Run<Result>,
): Run<Result> {
  return onDevice(async function* (device) {
    const run = await openRun(config, resume);
    try {
      yield { type: "note", message: `run folder: ${run.sink.location}` };
      return yield* recordRun(job(jobContext(device, run.sink, signal), run), run.sink);
    } finally {
      await run.sink.discardIfEmpty();
    }
  }, config.tune);
}

/** The events of `run` without its `result`, which the caller gives after work of its own. */
export async function* withoutResult<Result>(run: Run<Result>): Run<Result> {
  let ended = false;
  try {
    for (;;) {
      const next = await run.next();
      if (next.done) {
        ended = true;
        return next.value;
      }
      const event: RunEvent = next.value;
      if (event.type !== "result") yield event;
    }
  } finally {
    if (!ended) await run.return(undefined as Result);
  }
}

/** `run` with what it returns as its last event. */
export async function* withResult<Result>(run: Run<Result>): Run<Result> {
  const summary = yield* run;
  yield { type: "result", summary };
  return summary;
}
