/** What the training tests share: small models, a run's place in memory, and comparison bit for bit. */
import {
  BlipPretrainingModel,
  BlipRewardModel,
  CLIPTextModel,
  ConvClassifier,
  DDIMScheduler,
  type HeadInit,
  type ModelFolder,
  memoryFolder,
  PixelCodec,
  saveModel,
  TextToImagePipeline,
  UNet2DConditionModel,
} from "@refl/models";
import { DataError, type Device } from "@refl/tensor";
import { shapes16 } from "../../src/data/shapes16.ts";
import type { Run, RunEvent, SampleGrid, StageName } from "../../src/events.ts";
import { objectNames } from "../../src/judge/augment.ts";
import { type TaskModels, taskTokenizer } from "../../src/models.ts";
import { modelPreset } from "../../src/presets.ts";
import type { Checkpoint, CheckpointOptions, FolderWriter, Json, MetricsRecord, RunSink } from "../../src/run/sink.ts";
import { ImageReward } from "../../src/scorers/image-reward.ts";
import type { SaveOptions } from "../../src/train/save.ts";
import { STATE_FILE } from "../../src/train/session.ts";

/** Runs to the end; `see` looks at each event as it comes. */
export async function finish<Result>(
  run: Run<Result>,
  see: (event: RunEvent) => void = () => {},
): Promise<{ result: Result; events: RunEvent[] }> {
  const events: RunEvent[] = [];
  for (;;) {
    const next = await run.next();
    if (next.done) return { result: next.value, events };
    events.push(next.value);
    see(next.value);
  }
}

/** The steps' metrics in order. */
export const metricsOf = (events: readonly RunEvent[]): Readonly<Record<string, number>>[] =>
  events.flatMap((event) => (event.type === "step" ? [event.metrics] : []));

/** Place of the first number that is not the same, also in the sign of zero; −1 for lists that are equal bit for bit. */
export function firstDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  for (let i = 0; i < Math.max(a.length, b.length); i++) if (!Object.is(a[i], b[i])) return i;
  return -1;
}

/** An untrained pipeline for shapes16 with a UNet of one level: everything that the preset has, in a fifth of the kernels. */
export function tinyPipeline(device: Device, seed: number): TextToImagePipeline {
  const tokenizer = taskTokenizer(shapes16);
  const preset = modelPreset(shapes16, tokenizer.vocabSize);
  const unet = new UNet2DConditionModel({
    ...preset.unet,
    block_out_channels: [16],
    down_block_types: ["CrossAttnDownBlock2D"],
    mid_block_type: null,
    up_block_types: ["UpBlock2D"],
    norm_num_groups: 4,
  });
  return new TextToImagePipeline(device, {
    tokenizer,
    textEncoder: new CLIPTextModel(preset.textEncoder).initialize(device, seed),
    unet: unet.initialize(device, seed),
    scheduler: new DDIMScheduler(preset.scheduler),
    codec: new PixelCodec(preset.codec),
  });
}

/** A small BLIP for shapes16's words and pictures of `imageSize`; `textScale` is the deviation of the text encoder's fresh weights. */
function tinyBlipConfig({ imageSize = 16, textScale = 0.02 }) {
  const { vocabSize, maxLength } = taskTokenizer(shapes16);
  return {
    vision: { image_size: imageSize, patch_size: 4, embed_dim: 32, depth: 1, num_heads: 4 },
    text: {
      vocab_size: vocabSize,
      hidden_size: 32,
      num_hidden_layers: 1,
      num_attention_heads: 4,
      intermediate_size: 64,
      max_position_embeddings: maxLength,
      initializer_range: textScale,
    },
    embed_dim: 16,
    max_length: maxLength,
  };
}

/** An untrained BLIP, as pre-training has it. */
export const tinyBlip = (device: Device, seed: number): BlipPretrainingModel =>
  new BlipPretrainingModel(tinyBlipConfig({})).initialize(device, seed);

interface TinyRewardOptions {
  readonly imageSize?: number;
  readonly textScale?: number;
  readonly seed?: number;
  readonly headInit?: HeadInit;
}

/** An untrained reward model. */
export function tinyReward(device: Device, options: TinyRewardOptions = {}): ImageReward {
  const { seed = 1, headInit = "plateau-free", ...sizes } = options;
  const config = { ...tinyBlipConfig(sizes), head: [32, 16, 8, 4, 1], head_dropout: [0, 0, 0] };
  const model = new BlipRewardModel(config, "config.json", { headInit }).initialize(device, seed);
  return new ImageReward(device, model.eval() as BlipRewardModel, taskTokenizer(shapes16));
}

/** The models of shapes16 as a task ships them, small and untrained. */
export async function tinyModels(device: Device): Promise<TaskModels> {
  const [base, blip, classifier] = ["base", "blip", "classifier"].map((name) => memoryFolder(new Map(), name));
  using pipeline = tinyPipeline(device, 1);
  await pipeline.save(base!, { dtype: "F16" });
  using encoder = tinyBlip(device, 1);
  await saveModel(encoder, blip!, { dtype: "F16" });
  await taskTokenizer(shapes16).save(blip!, "tokenizer");
  const classes = { channels: [8, 16], norm_num_groups: 4, num_classes: objectNames(shapes16).length };
  using judge = new ConvClassifier(classes).initialize(device, 1);
  await saveModel(judge, classifier!, { dtype: "F16" });
  return { base: base!, blip: blip!, classifier: classifier! };
}

/** The files that a writer writes. */
async function filesOf(write: FolderWriter): Promise<Record<string, Uint8Array>> {
  const files = new Map<string, Uint8Array>();
  await write(memoryFolder(files));
  return Object.fromEntries(files);
}

/** The state that a session saves. */
export const stateOf = async (write: FolderWriter): Promise<Uint8Array> => (await filesOf(write))[STATE_FILE]!;

/** A checkpoint that holds a state alone. */
export const stateFolder = (state: Uint8Array, name = "checkpoint"): ModelFolder =>
  memoryFolder(new Map([[STATE_FILE, state]]), name);

/** Checkpoints of states alone, which `keep` gets. */
export const savesStates = (
  every: number,
  keep: (step: number, state: Uint8Array, best: boolean) => void,
): SaveOptions => ({
  every,
  model: async () => {},
  async checkpoint(step, write, best) {
    keep(step, await stateOf(write), best);
    return `step-${step}`;
  },
});

/** A run's place that keeps everything in memory. */
export class MemorySink implements RunSink {
  readonly location = "memory";
  readonly metrics: MetricsRecord[] = [];
  readonly samples = new Map<string, SampleGrid>();
  readonly checkpoints = new Map<number, Record<string, Uint8Array>>();
  readonly files = new Map<string, Uint8Array | string>();
  #config: Json = null;
  #best: number | undefined;

  async writeConfig(config: Json): Promise<void> {
    this.#config = config;
  }
  async readConfig(): Promise<Json> {
    return this.#config;
  }
  async appendMetrics(record: MetricsRecord): Promise<void> {
    this.metrics.push(record);
  }
  async truncateMetrics(stage: StageName, lastStep: number): Promise<void> {
    const kept = this.metrics.filter((record) => record.stage === stage && record.step <= lastStep);
    this.metrics.splice(0, this.metrics.length, ...kept);
  }
  async writeSamples(stage: StageName, step: number, grid: SampleGrid): Promise<string> {
    this.samples.set(`${stage}-${step}`, grid);
    return `${stage}-${step}.png`;
  }
  async writeCheckpoint(step: number, write: FolderWriter, options: CheckpointOptions = {}): Promise<Checkpoint> {
    this.checkpoints.set(step, await filesOf(write));
    if (options.best) this.#best = step;
    return { step, path: `step-${step}` };
  }
  async findLatestCheckpoint(): Promise<Checkpoint | undefined> {
    const steps = [...this.checkpoints.keys()];
    return steps.length ? this.#at(Math.max(...steps)) : undefined;
  }
  async findBestCheckpoint(): Promise<Checkpoint | undefined> {
    return this.#best === undefined ? undefined : this.#at(this.#best);
  }
  async openCheckpoint({ step, path }: Checkpoint): Promise<ModelFolder> {
    const files = this.checkpoints.get(step);
    if (!files) throw new DataError(path, 0, "", "is no checkpoint");
    return memoryFolder(new Map(Object.entries(files)), path);
  }
  async writeFile(name: string, data: Uint8Array | string): Promise<string> {
    this.files.set(name, data);
    return name;
  }

  async writeFolder(name: string, write: FolderWriter): Promise<string> {
    for (const [path, data] of Object.entries(await filesOf(write))) this.files.set(`${name}/${path}`, data);
    return name;
  }

  #at(step: number): Checkpoint {
    return { step, path: `step-${step}` };
  }
}
