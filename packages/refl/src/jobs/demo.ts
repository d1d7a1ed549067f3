/** The demo: a shipped base model draws, an annotator ranks, a reward model learns, ReFL and a control tune, and both judges compare. */
import type { TextToImagePipeline } from "@refl/models";
import type { DemoConfig } from "../config/demo.ts";
import { testPrompts } from "../data/splits/test.ts";
import { trainPrompts } from "../data/splits/train.ts";
import type { PictureTask } from "../data/task.ts";
import { taskNamed } from "../data/tasks.ts";
import { type ArmPictures, judgeArm, judgePicturesOf } from "../evaluate/arms.ts";
import { drawPictures } from "../evaluate/pictures.ts";
import { SecondJudge } from "../evaluate/second-judge.ts";
import type { Run } from "../events.ts";
import { type Taste, tasteNamed } from "../judge/taste.ts";
import { loadClassifier, rewardFromBlip, type TaskModels } from "../models.ts";
import { modelPreset } from "../presets.ts";
import type { ReportPicture } from "../report/html.ts";
import {
  ARMS,
  type ArmJudgement,
  type ArmName,
  checkSummary,
  type DemoSummary,
  SUMMARY_VERSION,
} from "../report/summary.ts";
import type { PromptKind } from "../report/table.ts";
import { summaryTables } from "../report/table.ts";
import type { ImageReward } from "../scorers/image-reward.ts";
import type { RankedPictures } from "../train/pairs.ts";
import type { ReflResult } from "../train/refl.ts";
import { trainRewardModel } from "../train/reward.ts";
import type { JobContext } from "./context.ts";
import { weightsDigest } from "./digest.ts";
import { imageAt } from "./grids.ts";
import { drawAndRank, foundPrompts, rankFound } from "./ranking.ts";
import { tuneArm } from "./refl.ts";
import { loadPipeline } from "./sampler.ts";
import { inStage, type StageSeconds } from "./stage.ts";
import { taskSubject } from "./subject.ts";

/** Rankings of further prompts that neither train the reward model nor choose its checkpoint: its held-out accuracy is theirs. */
const HELD_OUT = 30;
/** Pictures in the report for each kind of prompts. */
const SHOWN = 12;

/** What a demo leaves beside its summary: the pictures for the report. */
export interface DemoResult {
  readonly summary: DemoSummary;
  readonly pictures: readonly ReportPicture[];
}

interface Ranked {
  readonly training: RankedPictures[];
  readonly validation: RankedPictures[];
  readonly heldOut: RankedPictures[];
}

/** The arms' pictures on one kind of prompts, best of 4 included. */
type Gallery = Record<ArmName, ArmPictures>;

/** Models that a run made; all of them are given back when it ends, however it ends. */
type Models = { dispose(): void }[];

/** Runs the whole loop. Pure in the config: the same config on the same adapter gives the same numbers. */
export async function* runDemo(config: DemoConfig, context: JobContext): Run<DemoResult> {
  const models: Models = [];
  try {
    return yield* runLoop(config, context, models);
  } finally {
    for (const model of models) model.dispose();
  }
}

async function* runLoop(config: DemoConfig, context: JobContext, made: Models): Run<DemoResult> {
  const { device, signal } = context;
  const seconds: StageSeconds = {};
  const start = performance.now();
  const task = taskNamed(config.task);
  const taste = tasteNamed(config.taste, task);
  device.resetPeak();
  const loaded = yield* inStage("load", `${config.task}: base model, BLIP and second judge`, seconds, device, () =>
    load(task, config, context, made),
  );
  const { base, models, scorer } = loaded;
  const second = new SecondJudge(loaded.classifier, device, task);
  const ranked = yield* drawRankings(task, config, base, seconds, signal);
  signal?.throwIfAborted();
  const reward = yield* inStage("reward", `reward model on ${ranked.training.length} rankings`, seconds, device, () =>
    trainRewardModel({
      ...config.reward,
      emaDecay: config.reward.ema?.decay ?? null,
      ...ranked,
      scorer,
      size: task.size,
      seed: config.seed,
      ...(signal ? { signal } : {}),
    }),
  );
  yield {
    type: "note",
    message: `reward model: ${(100 * reward.heldOutAccuracy).toFixed(1)} % of ${reward.heldOutPairs} held-out pairs right`,
  };
  signal?.throwIfAborted();
  const sampling = { seed: config.seed, samplerSteps: config.samplerSteps, guidance: config.guidance };
  const arms: Partial<Record<"control" | "refl", { pipeline: TextToImagePipeline; result: ReflResult }>> = {};
  const subject = taskSubject(task, taste, config.seed);
  for (const arm of ["refl", "control"] as const) {
    const pipeline = await loadPipeline(models.base, device, config.sampler);
    made.push(pipeline);
    const message = arm === "refl" ? `taste ${taste.name}` : "same data and steps, no reward";
    const result = yield* inStage(arm, message, seconds, device, () =>
      tuneArm({
        arm,
        subject,
        config: { ...config.refl, ...sampling },
        pipeline,
        scorer,
        ...(signal ? { signal } : {}),
      }),
    );
    arms[arm] = { pipeline, result };
    signal?.throwIfAborted();
  }
  const pipelines = { base, control: arms.control!.pipeline, refl: arms.refl!.pipeline };
  const galleries = {} as Record<PromptKind, Gallery>;
  const judged = {} as Record<PromptKind, Record<ArmName, ArmJudgement>>;
  for (const kind of ["unseen", "seen"] as const) {
    galleries[kind] = yield* inStage(
      "evaluate",
      `${kind} prompts: base, control, ReFL, best of 4`,
      seconds,
      device,
      () => drawGallery(task, kind, config, pipelines, scorer, signal),
    );
    judged[kind] = await judgeGallery(task, taste, galleries[kind], second);
  }
  const digests = {
    base: await weightsDigest(base.unet),
    control: await weightsDigest(pipelines.control.unet),
    refl: await weightsDigest(pipelines.refl.unet),
    reward: await weightsDigest(scorer.model),
  };
  const total = (performance.now() - start) / 1000;
  const { vendor, architecture, device: name, description, software } = device.adapter;
  const summary = checkSummary({
    version: SUMMARY_VERSION,
    createdAt: new Date().toISOString(),
    task: task.name,
    taste: taste.name,
    seed: config.seed,
    adapter: { vendor, architecture, device: name, description, software, host: device.hostName },
    software: context.versions ?? {},
    seconds: { ...seconds, total },
    peakBytes: { host: context.hostPeakBytes?.() ?? 0, device: device.memory().peak },
    rewardModel: reward,
    ...Object.fromEntries(ARMS.map((arm) => [arm, { seen: judged.seen[arm], unseen: judged.unseen[arm] }])),
    curves: { refl: curveOf(arms.refl!.result), control: curveOf(arms.control!.result) },
    earlyStop: {
      step: arms.refl!.result.kept,
      lastStep: arms.refl!.result.lastStep,
      stoppedEarly: arms.refl!.result.stoppedEarly,
    },
    checkpoints: digests,
    config: { ...config },
  });
  const pictures = reportPictures(task, taste, config, galleries);
  yield* summaryTables(summary);
  yield { type: "result", summary };
  return { summary, pictures };
}

async function load(task: PictureTask, config: DemoConfig, { device, shipped }: JobContext, made: Models) {
  const models: TaskModels = await shipped(task.name);
  const base = await loadPipeline(models.base, device, config.sampler);
  made.push(base);
  const preset = modelPreset(task, base.tokenizer.vocabSize);
  const scorer = await rewardFromBlip(models.blip, device, preset.rewardHead, config.seed);
  made.push(scorer.model);
  const classifier = await loadClassifier(models.classifier, device);
  made.push(classifier);
  return { models, base, scorer, classifier };
}

async function* drawRankings(
  task: PictureTask,
  config: DemoConfig,
  base: TextToImagePipeline,
  seconds: StageSeconds,
  signal: AbortSignal | undefined,
): Run<Ranked> {
  const { prompts: count } = config;
  const prompts = trainPrompts(task, count + HELD_OUT, config.seed);
  const rankings = yield* drawAndRank(task, base, prompts, { ...config, ...(signal ? { signal } : {}) }, seconds);
  const validationFrom = Math.floor(count * (1 - config.reward.validationShare));
  const part = (from: number, to: number): RankedPictures[] => rankings.filter(({ item }) => item >= from && item < to);
  const unseen = new Set(prompts.slice(validationFrom).map(({ text }) => text));
  const found = rankFound(task, foundPrompts(task, config.foundPrompts, config.seed, unseen), config);
  return {
    training: [...part(0, validationFrom), ...found],
    validation: part(validationFrom, count),
    heldOut: part(count, count + HELD_OUT),
  };
}

/** Every arm's pictures of the same prompts and seeds; best of 4 takes, by the reward model, the best of base's picture and three more. */
async function* drawGallery(
  task: PictureTask,
  kind: PromptKind,
  config: DemoConfig,
  pipelines: Readonly<Record<Exclude<ArmName, "bestOf4">, TextToImagePipeline>>,
  scorer: ImageReward,
  signal: AbortSignal | undefined,
): Run<Gallery> {
  const prompts = testPrompts(task, kind === "seen" ? "test-seen" : "test-unseen", config.evaluationPictures);
  const attributes = prompts.map((p) => p.attributes);
  const texts = prompts.map((p) => p.text);
  const seeds = prompts.map((p) => p.seed);
  const options = {
    samplerSteps: config.samplerSteps,
    guidance: config.guidance,
    stage: "evaluate" as const,
    ...(signal ? { signal } : {}),
  };
  const gallery: Partial<Gallery> = {};
  for (const arm of ["base", "control", "refl"] as const) {
    gallery[arm] = { rgb: yield* drawPictures(pipelines[arm], texts, seeds, options), attributes };
    signal?.throwIfAborted();
  }
  const each = 3 * task.size * task.size;
  const best = gallery.base!.rgb.slice();
  const bestReward = await scorer.score(texts, best, task.size);
  for (let more = 1; more < 4; more++) {
    const other = yield* drawPictures(
      pipelines.base,
      texts,
      seeds.map((s) => s + more * 1_000_000),
      options,
    );
    signal?.throwIfAborted();
    const rewards = await scorer.score(texts, other, task.size);
    rewards.forEach((r, i) => {
      if (r <= bestReward[i]!) return;
      bestReward[i] = r;
      best.set(other.subarray(i * each, (i + 1) * each), i * each);
    });
  }
  gallery.bestOf4 = { rgb: best, attributes };
  return gallery as Gallery;
}

async function judgeGallery(
  task: PictureTask,
  taste: Taste,
  gallery: Gallery,
  second: SecondJudge,
): Promise<Record<ArmName, ArmJudgement>> {
  const judged = {} as Record<ArmName, ArmJudgement>;
  for (const arm of ARMS) judged[arm] = await judgeArm(task, taste, gallery[arm], second);
  return judged;
}

const curveOf = (result: ReflResult) =>
  result.curve.map(({ step, reward, judge, standardError }) => ({
    step,
    reward,
    judge,
    judgeStandardError: standardError,
  }));

function reportPictures(
  task: PictureTask,
  taste: Taste,
  config: DemoConfig,
  galleries: Record<PromptKind, Gallery>,
): ReportPicture[] {
  return (["unseen", "seen"] as const).flatMap((kind) => {
    const prompts = testPrompts(task, kind === "seen" ? "test-seen" : "test-unseen", config.evaluationPictures).slice(
      0,
      SHOWN,
    );
    const scores = Object.fromEntries(
      ARMS.map((arm) => [arm, judgePicturesOf(task, taste, first(galleries[kind][arm], SHOWN, task)).scores]),
    ) as Record<ArmName, number[]>;
    return prompts.map(({ text, seed }, i) => ({
      caption: text,
      kind,
      seed,
      images: Object.fromEntries(
        ARMS.map((arm) => [arm, imageAt(galleries[kind][arm].rgb, i, task.size)]),
      ) as unknown as ReportPicture["images"],
      scores: Object.fromEntries(ARMS.map((arm) => [arm, scores[arm][i]!])),
    }));
  });
}

const first = ({ rgb, attributes }: ArmPictures, count: number, task: PictureTask): ArmPictures => ({
  rgb: rgb.subarray(0, count * 3 * task.size * task.size),
  attributes: attributes.slice(0, count),
});
