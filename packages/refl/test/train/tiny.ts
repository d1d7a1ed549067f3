/** What the training tests share: small models, a run's place in memory, and comparison bit for bit. */
import {
  BlipRewardModel,
  CLIPTextModel,
  DDIMScheduler,
  type HeadInit,
  PixelCodec,
  TextToImagePipeline,
  UNet2DConditionModel,
} from "@refl/models";
import { DataError, type Device } from "@refl/tensor";
import { shapes16 } from "../../src/data/shapes16.ts";
import type { Run, RunEvent, SampleGrid, StageName } from "../../src/events.ts";
import { taskTokenizer } from "../../src/models.ts";
import { modelPreset } from "../../src/presets.ts";
import type {
  Checkpoint,
  CheckpointFiles,
  CheckpointOptions,
  Json,
  MetricsRecord,
  RunSink,
} from "../../src/run/sink.ts";
import { ImageReward } from "../../src/scorers/image-reward.ts";

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

/** An untrained reward model of shapes16's words with a small vision tower for pictures of `imageSize`. */
export function tinyReward(
  device: Device,
  {
    imageSize = 16,
    seed = 1,
    headInit = "plateau-free",
    textScale = 0.02,
  }: { imageSize?: number; seed?: number; headInit?: HeadInit; textScale?: number } = {},
): ImageReward {
  const tokenizer = taskTokenizer(shapes16);
  const config = {
    vision: { image_size: imageSize, patch_size: 4, embed_dim: 32, depth: 1, num_heads: 4 },
    text: {
      vocab_size: tokenizer.vocabSize,
      hidden_size: 32,
      num_hidden_layers: 1,
      num_attention_heads: 4,
      intermediate_size: 64,
      max_position_embeddings: tokenizer.maxLength,
      initializer_range: textScale,
    },
    embed_dim: 16,
    max_length: tokenizer.maxLength,
    head: [32, 16, 8, 4, 1],
    head_dropout: [0, 0, 0],
  };
  const model = new BlipRewardModel(config, "config.json", { headInit }).initialize(device, seed);
  return new ImageReward(device, model.eval() as BlipRewardModel, tokenizer);
}

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
  async truncateMetrics(lastStep: number): Promise<void> {
    const kept = this.metrics.filter(({ step }) => step <= lastStep);
    this.metrics.splice(0, this.metrics.length, ...kept);
  }
  async writeSamples(stage: StageName, step: number, grid: SampleGrid): Promise<string> {
    this.samples.set(`${stage}-${step}`, grid);
    return `${stage}-${step}.png`;
  }
  async writeCheckpoint(step: number, files: CheckpointFiles, options: CheckpointOptions = {}): Promise<Checkpoint> {
    const bytes = Object.entries(files).map(([path, data]) => [
      path,
      typeof data === "string" ? new TextEncoder().encode(data) : data.slice(),
    ]);
    this.checkpoints.set(step, Object.fromEntries(bytes));
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
  async readCheckpoint({ step, path }: Checkpoint): Promise<Record<string, Uint8Array>> {
    const files = this.checkpoints.get(step);
    if (!files) throw new DataError(path, 0, "", "is no checkpoint");
    return files;
  }
  async writeFile(name: string, data: Uint8Array | string): Promise<string> {
    this.files.set(name, data);
    return name;
  }

  #at(step: number): Checkpoint {
    return { step, path: `step-${step}` };
  }
}
