/** What `reference/golden/training.py` and `training_latents.py` train, on the product's own trainers: data that follow from their number, models with seeded weights, options of the golden files. */
import { readFileSync } from "node:fs";
import {
  AutoencoderCodec,
  AutoencoderKL,
  BlipRewardModel,
  CLIPTextModel,
  CLIPTokenizer,
  clipVocabulary,
  DDPMScheduler,
  fillSeeded,
  PixelCodec,
  PNDMScheduler,
  TextToImagePipeline,
  UNet2DConditionModel,
  WordTokenizer,
} from "@refl/models";
import type { Device } from "@refl/tensor";
import { intAt, streamOf } from "../../src/data/random.ts";
import type { Run } from "../../src/events.ts";
import { ImageReward } from "../../src/scorers/image-reward.ts";
import { type Example, listExamples } from "../../src/train/examples.ts";
import type { RankedPictures } from "../../src/train/pairs.ts";
import { type ReflOptions, trainRefl } from "../../src/train/refl.ts";
import { type RewardTrainingOptions, trainRewardModel } from "../../src/train/reward.ts";

interface GoldenRun<Options> {
  readonly size: number;
  readonly maxLength: number;
  readonly words: readonly string[];
  readonly colours: Readonly<Record<string, readonly number[]>>;
  readonly patterns: readonly string[];
  readonly training: Options;
  readonly reward: Readonly<Record<string, unknown>>;
  readonly unet?: object;
  readonly text_encoder?: object;
  readonly scheduler?: object;
  /** Losses of all steps by name. */
  readonly curves: Readonly<Record<string, readonly number[]>>;
}

type RewardSettings = Pick<
  RewardTrainingOptions,
  "seed" | "epochs" | "rankingsPerStep" | "lr" | "lrSchedule" | "warmupSteps" | "weightDecay" | "gradientClip"
> &
  Pick<RewardTrainingOptions, "noise" | "fixRate" | "shift"> & { readonly rankings: number };

type ReflSettings = Pick<
  ReflOptions,
  "seed" | "steps" | "batchSize" | "pretrainingBatchSize" | "lambda" | "pretrainingWeight" | "rewardNoise" | "window"
> &
  Pick<ReflOptions, "samplerSteps" | "lr" | "lrSchedule" | "warmupSteps" | "weightDecay" | "gradientClip"> & {
    readonly timestepShift: number;
  };

type LatentSettings = Pick<
  ReflOptions,
  "seed" | "steps" | "batchSize" | "accumulation" | "lambda" | "window" | "samplerSteps" | "lr" | "lrSchedule"
> &
  Pick<ReflOptions, "warmupSteps" | "betas" | "epsilon" | "weightDecay" | "gradientClip" | "emaDecay"> & {
    /** Height and width of the pictures in pixels. */
    readonly size: readonly [number, number];
  };

/** A tensor of the reference: its norm, its largest entry by amount, and entries spread evenly. */
interface TensorFigures {
  readonly norm: number;
  readonly largest: number;
  readonly entries: readonly number[];
}

interface GoldenLatents extends Omit<GoldenRun<LatentSettings>, "size" | "colours" | "patterns"> {
  readonly prompts: readonly string[];
  readonly merges: readonly string[];
  readonly vae: object;
  /** The first of CLIP's ids of each prompt. */
  readonly clipIds: readonly (readonly number[])[];
  /** The first steps of a run whose scheduler has no offset. */
  readonly curvesWithoutOffset: GoldenRun<unknown>["curves"];
  /** Losses and mean rewards of the first step's batches. */
  readonly firstStep: { readonly loss: readonly number[]; readonly reward: readonly number[] };
  /** Of the first step, before clipping. */
  readonly gradients: Readonly<Record<string, TensorFigures>>;
  /** The moving average at the end, less the start. */
  readonly moved: Readonly<Record<string, TensorFigures>>;
}

function open<Golden>(name: string): Golden {
  return JSON.parse(readFileSync(new URL(`../golden/${name}.json`, import.meta.url), "utf8"));
}

export const goldenReward = open<GoldenRun<RewardSettings>>("training_reward");
export const goldenRefl = open<GoldenRun<ReflSettings>>("training_refl");
export const goldenLatents = open<GoldenLatents>("training_refl_latents");

const { size: SIZE, colours, patterns } = goldenReward;

/** One of 16, each made of a colour and a pattern. */
const caption = (number: number): string =>
  `a ${Object.keys(colours)[number % 4]} ${patterns[Math.floor(number / 4) % 4]}`;

const half = (x: number): number => Math.floor(x / 2);
const quarter = (x: number): number => Math.floor(x / 4);
const INSIDE: Readonly<Record<string, (x: number, y: number) => boolean>> = {
  square: (x, y) => x >= 4 && x < 12 && y >= 4 && y < 12,
  stripes: (x) => half(x) % 2 === 1,
  checks: (x, y) => (quarter(x) + quarter(y)) % 2 === 1,
  bars: (_, y) => half(y) % 2 === 1,
};
const GREY = [128, 128, 128];

/** HWC bytes: the caption's pattern in its colour on grey, with a shade that depends on the number. */
function picture(text: string, number: number): Uint8Array {
  const [, colour, pattern] = text.split(" ") as [string, string, string];
  const pixel = (i: number): number[] => {
    const [x, y] = [i % SIZE, Math.floor(i / SIZE)];
    const shade = (7 * x + 13 * y + 29 * number) % 32;
    return (INSIDE[pattern]!(x, y) ? colours[colour]! : GREY).map((value) => value - shade);
  };
  return Uint8Array.from(Array.from({ length: SIZE * SIZE }, (_, i) => pixel(i)).flat());
}

/** A prompt with four pictures: both right; colour or pattern right, alike but in every fifth ranking; nothing right. */
function ranking(number: number): RankedPictures {
  const prompt = (number * 7) % 16;
  const other = (prompt + 1 + Math.floor(number / 16)) % 4;
  const colour = other === prompt % 4 ? (other + 1) % 4 : other;
  const shown = [prompt, quarter(prompt) * 4 + colour, (prompt + 4) % 16, (quarter(prompt + 8) % 4) * 4 + colour];
  const ranks = [1, 2, number % 5 === 0 ? 3 : 2, 4];
  const order = [0, 1, 2, 3].map((i) => (i + number) % 4);
  return {
    prompt: caption(prompt),
    rgb: order.map((i) => picture(caption(shown[i]!), 4 * number + i)),
    ranking: order.map((i) => ranks[i]!),
  };
}

const TUNING = streamOf("tuning prompt");

const tokenizer = WordTokenizer.fromWords(goldenReward.words, { maxLength: goldenReward.maxLength });

function scorerOf(
  device: Device,
  { reward, maxLength }: Pick<GoldenRun<unknown>, "reward" | "maxLength">,
): ImageReward {
  const { vision, text, embed_dim, head, mean, std } = reward;
  const config = { vision, text, embed_dim, head, mean, std, head_dropout: [0, 0, 0], max_length: maxLength };
  return new ImageReward(device, fillSeeded(new BlipRewardModel(config), device, { prefix: "reward." }), tokenizer);
}

/** The golden reward training with some options other than its own. The caller disposes of the scorer. */
export function rewardRun(device: Device, over: Partial<RewardTrainingOptions> = {}) {
  const { rankings: count, ...settings } = goldenReward.training;
  const scorer = scorerOf(device, goldenReward);
  const training = Array.from({ length: count }, (_, i) => ranking(i));
  const looks = { validation: training.slice(0, 2), heldOut: training.slice(0, 2) };
  const options = { ...settings, scorer, training, ...looks, size: SIZE, emaDecay: 0, ...over };
  return { run: trainRewardModel(options) as Run<unknown>, dispose: () => scorer.dispose() };
}

/** The golden ReFL tuning with some options other than its own. The caller disposes of the models. */
export function reflRun(device: Device, over: Partial<ReflOptions> = {}) {
  const { timestepShift, ...settings } = goldenRefl.training;
  const scorer = scorerOf(device, goldenRefl);
  const pipeline = new TextToImagePipeline(device, {
    tokenizer,
    textEncoder: fillSeeded(new CLIPTextModel(goldenRefl.text_encoder), device, { prefix: "text_encoder." }),
    unet: fillSeeded(new UNet2DConditionModel(goldenRefl.unet), device, { prefix: "unet." }),
    scheduler: new DDPMScheduler(goldenRefl.scheduler),
    codec: new PixelCodec({ factor: 2 }),
  });
  const numbers = Array.from({ length: 16 }, (_, i) => i);
  const pictures = numbers.map((i): Example => ({ rgb: picture(caption(i), i), caption: caption(i) }));
  const run = trainRefl({
    ...settings,
    pipeline,
    scorer,
    prompt: (seed, index) => caption(intAt(seed, TUNING, index, 16)),
    examples: listExamples("patterns", SIZE, pictures),
    objective: { timestepShift, weighting: { kind: "uniform" } },
    lora: null,
    emaDecay: 0,
    stage: "refl",
    validation: null,
    ...over,
  });
  const dispose = (): void => {
    pipeline.dispose();
    scorer.dispose();
  };
  return { run: run as Run<unknown>, dispose };
}

/** The golden models on latents, with some fields of the scheduler's file other than its own. The caller disposes of them. */
export function latentModels(device: Device, scheduler: object = {}) {
  const { merges, text_encoder, unet, vae } = goldenLatents;
  const pipeline = new TextToImagePipeline(device, {
    tokenizer: new CLIPTokenizer({ vocab: clipVocabulary(merges), merges }),
    textEncoder: fillSeeded(new CLIPTextModel(text_encoder), device, { prefix: "text_encoder." }),
    unet: fillSeeded(new UNet2DConditionModel(unet), device, { prefix: "unet." }),
    scheduler: new PNDMScheduler({ ...goldenLatents.scheduler, ...scheduler }),
    codec: new AutoencoderCodec(fillSeeded(new AutoencoderKL(vae), device, { prefix: "vae." })),
  });
  const scorer = scorerOf(device, goldenLatents);
  const dispose = (): void => {
    pipeline.dispose();
    scorer.dispose();
  };
  return { pipeline, scorer, dispose };
}

/** Prompt `index` of the golden tuning on latents. */
export const latentPrompt = (seed: number, index: number): string =>
  goldenLatents.prompts[intAt(seed, TUNING, index, goldenLatents.prompts.length)]!;

/** The golden tuning of models on latents, without a pre-training loss, with some options other than its own. */
export function latentRun(
  { pipeline, scorer }: Pick<ReturnType<typeof latentModels>, "pipeline" | "scorer">,
  over: Partial<ReflOptions> = {},
): Run<unknown> {
  return trainRefl({
    ...goldenLatents.training,
    pipeline,
    scorer,
    prompt: latentPrompt,
    examples: null,
    objective: { timestepShift: 1, weighting: { kind: "uniform" } },
    pretrainingBatchSize: 0,
    pretrainingWeight: 0,
    rewardNoise: 0,
    lora: null,
    stage: "refl",
    validation: null,
    ...over,
  });
}
