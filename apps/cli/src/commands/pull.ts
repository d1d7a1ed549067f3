/** `refl pull`: fetches files of a model from a hub into its cache or a folder. */
import { HubError, type ModelId, modelIdText, parseModelId } from "@refl/models";
import { hubSettings, type PullEvent, type PulledModel, pullModel } from "@refl/models/node";
import { type PullConfig, pullConfig, type Run, type RunEvent } from "@refl/refl";
import { addConfigOptions, readConfig } from "../config-options.ts";
import { drive } from "../drive.ts";
import type { CommandSlot } from "../program.ts";
import { formatBytes } from "../render/format.ts";

/** Milliseconds between two progress events. */
const PROGRESS_INTERVAL = 100;

/** The model that the config names. Throws `HubError` when it names none, or two revisions of it. */
function modelOf({ model, revision }: PullConfig): ModelId {
  const id = parseModelId(model);
  if (revision === undefined) return id;
  if (model.includes("@") && id.revision !== revision)
    throw new HubError("setting", `${model}: the revision is ${revision} besides; give one of them`);
  return parseModelId(`${id.owner}/${id.name}@${revision}`);
}

/** Turns a pull's events into those of a run: bytes are steps, and few enough of them are told. */
class PullProgress {
  readonly events: RunEvent[] = [];
  #total = 0;
  #files = 0;
  #last = Number.NEGATIVE_INFINITY;

  take(event: PullEvent): void {
    if (event.type === "notice") this.events.push({ type: "warning", message: event.message });
    else if (event.type === "plan") {
      this.#total = event.bytes;
      this.#files = event.files;
      const what = `${event.files} ${event.files === 1 ? "file" : "files"}, ${formatBytes(event.bytes)}`;
      this.events.push({ type: "stage", stage: "pull", message: what });
    } else {
      const now = performance.now();
      const ended = event.files === this.#files;
      if (event.bytes === 0 || (!ended && now - this.#last < PROGRESS_INTERVAL)) return;
      this.#last = now;
      const step = { step: event.bytes, total: this.#total, unit: "byte", metrics: { files: event.files } } as const;
      this.events.push({ type: "step", stage: "pull", ...step });
    }
  }
}

/** Runs the pull and yields its events while it works. */
async function* pulled(config: PullConfig, signal: AbortSignal): Run<PulledModel> {
  const id = modelOf(config);
  const { endpoint, cacheDir, localDir, offline, forceDownload, dryRun, maxWorkers, retries } = config;
  const settings = await hubSettings({ endpoint, cacheDir, offline });
  const progress = new PullProgress();
  let wake = (): void => {};
  let ended = false;
  const start = performance.now();
  const work = pullModel(id, {
    settings,
    files: [...config.files, ...config.include],
    exclude: config.exclude,
    localDir,
    force: forceDownload,
    dryRun,
    concurrency: maxWorkers,
    retries,
    signal,
    onEvent(event) {
      progress.take(event);
      wake();
    },
  }).finally(() => {
    ended = true;
    wake();
  });
  // A failure is told where the result is awaited, below.
  work.catch(() => {});
  let staged = false;
  for (;;) {
    for (const event of progress.events.splice(0)) {
      staged ||= event.type === "stage";
      yield event;
    }
    if (ended) break;
    const more = new Promise<void>((resolve) => {
      wake = resolve;
    });
    if (progress.events.length === 0) await more;
  }
  const result = await work;
  if (staged) yield { type: "stage-end", stage: "pull", seconds: (performance.now() - start) / 1000 };
  return result;
}

const STATES = { fetched: "fetched", present: "was there", wanted: "to be fetched" } as const;

async function* pull(config: PullConfig, signal: AbortSignal): Run<void> {
  const { id, commit, folder, files } = yield* pulled(config, signal);
  const rows = files.map(({ file, size, state }) => [file, formatBytes(size), STATES[state]]);
  yield { type: "table", title: folder, header: ["file", "size", "state"], rows };
  yield { type: "result", summary: { model: modelIdText(id), commit, folder, files } };
}

/** Adds the command. */
export function addPullCommand({ parent, act }: CommandSlot): void {
  const command = parent
    .command("pull")
    .description("fetch files of a model from a hub")
    .argument("[model]", "owner/name or owner/name@revision")
    .argument("[files...]", "names or patterns of files; all files where none is given");
  const flags = addConfigOptions(command, pullConfig, { positional: ["files"] });
  command.action((model: string | undefined, files: string[]) =>
    act(async (context) => {
      const over = { ...(model === undefined ? {} : { model }), ...(files.length ? { files } : {}) };
      const config = await readConfig(pullConfig, flags, { over });
      await drive(context, (signal) => pull(config, signal));
      return undefined;
    }),
  );
}
