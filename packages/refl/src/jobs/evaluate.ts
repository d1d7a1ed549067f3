/** `eval`: both judges' view of a model's pictures for held-out prompts. */
import type { TextToImagePipeline } from "@refl/models";
import { DataError } from "@refl/tensor";
import type { EvaluateConfig } from "../config/evaluate.ts";
import { type TestPrompt, testPrompts, wordOrderPrompts } from "../data/splits/test.ts";
import { taskNamed } from "../data/tasks.ts";
import { judgeArm } from "../evaluate/arms.ts";
import { estimateMean } from "../evaluate/intervals.ts";
import { drawPictures } from "../evaluate/pictures.ts";
import { SecondJudge } from "../evaluate/second-judge.ts";
import type { Run } from "../events.ts";
import { tasteNamed } from "../judge/taste.ts";
import { loadClassifier, loadRewardModel } from "../models.ts";
import type { EvaluatedPictures, PromptKind } from "../report/table.ts";
import type { ImageReward } from "../scorers/image-reward.ts";
import type { JobContext } from "./context.ts";
import { weightsDigest } from "./digest.ts";
import { openModel } from "./open-model.ts";
import { inStage } from "./stage.ts";

const SET_TITLES = {
  unseen: "unseen prompts",
  seen: "seen prompts",
  wordOrder: "seen prompts in an unused word order",
} as const;

/** What an evaluation found, by kind of prompts, with the digest of the weights that it was measured on. */
export interface EvaluationResult {
  readonly task: string;
  readonly taste: string;
  readonly model: string;
  readonly judged: Readonly<Record<PromptKind, EvaluatedPictures>>;
  /** The text encoder's own test: the combinations and seeds of `seen`, said in a word order that no training shows. */
  readonly wordOrder: EvaluatedPictures;
}

/** What draws pictures, and chooses among them. */
interface Drawing {
  readonly pipeline: TextToImagePipeline;
  readonly scorer: ImageReward | null;
  readonly config: EvaluateConfig;
  readonly pictureSize: number;
  readonly signal?: AbortSignal;
}

/** Seeds of further pictures of a prompt lie so far from those of the first ones that no two are the same. */
const NEXT_PICTURE = 1_000_000;

/** One picture for each prompt, of `bestOf` the one with the highest reward, and its reward where there is a reward model. Throws the signal's reason. */
async function* drawBest(
  { pipeline, scorer, config, pictureSize, signal }: Drawing,
  prompts: readonly TestPrompt[],
): Run<{ readonly rgb: Float32Array; readonly rewards: Float32Array | null }> {
  const texts = prompts.map((p) => p.text);
  const options = { ...config, stage: "evaluate" as const, ...(signal ? { signal } : {}) };
  const draw = (more: number): Run<Float32Array> =>
    drawPictures(
      pipeline,
      texts,
      prompts.map((p) => p.seed + more * NEXT_PICTURE),
      options,
    );
  const best = yield* draw(0);
  signal?.throwIfAborted();
  if (!scorer) return { rgb: best, rewards: null };
  const rewards = await scorer.score(texts, best, pictureSize);
  const each = 3 * pictureSize ** 2;
  for (let more = 1; more < config.bestOf; more++) {
    const other = yield* draw(more);
    signal?.throwIfAborted();
    const found = await scorer.score(texts, other, pictureSize);
    for (const [i, reward] of found.entries()) {
      if (reward <= rewards[i]!) continue;
      rewards[i] = reward;
      best.set(other.subarray(i * each, (i + 1) * each), i * each);
    }
  }
  return { rgb: best, rewards };
}

/** The mean reward, and its interval over the distinct prompts. */
function rewardView(
  prompts: readonly TestPrompt[],
  rewards: Float32Array,
  config: EvaluateConfig,
): Pick<EvaluatedPictures, "reward" | "rewardInterval"> {
  const groups = new Map<string, number[]>();
  for (const [i, { text }] of prompts.entries()) groups.set(text, [...(groups.get(text) ?? []), rewards[i]!]);
  const { value, low, high } = estimateMean([...groups.values()], { ...config, seed: 0 });
  return { reward: value, rewardInterval: { low, high } };
}

/** Draws the test prompts from their fixed seeds, the seen ones also in an unused word order, and judges the pictures. Throws `DataError` for values that do not fit. */
export async function* runEvaluate(config: EvaluateConfig, context: JobContext): Run<EvaluationResult> {
  const { device, signal } = context;
  if (config.bestOf > 1 && config.reward === undefined)
    throw new DataError(
      "eval",
      0,
      "bestOf",
      `${config.bestOf} needs a reward model that chooses: name it with --reward`,
    );
  const task = taskNamed(config.task);
  const taste = tasteNamed(config.taste, task);
  const shipped = await context.shipped(task.name);
  const pipeline = await openModel(config, context, config.sampler);
  const classifier = await loadClassifier(shipped.classifier, device);
  const scorer = config.reward ? await loadRewardModel(await context.open(config.reward), device) : null;
  try {
    const second = new SecondJudge(classifier, device, task);
    const sets = {
      unseen: testPrompts(task, "test-unseen", config.pictures),
      seen: testPrompts(task, "test-seen", config.pictures),
      wordOrder: wordOrderPrompts(task, config.pictures),
    };
    const views = {} as Record<keyof typeof sets, EvaluatedPictures>;
    for (const kind of ["unseen", "seen", "wordOrder"] as const) {
      const prompts = sets[kind];
      const drawn = yield* inStage("evaluate", SET_TITLES[kind], {}, device, () =>
        drawBest({ pipeline, scorer, config, pictureSize: task.size, ...(signal ? { signal } : {}) }, prompts),
      );
      const arm = { rgb: drawn.rgb, attributes: prompts.map((p) => p.attributes) };
      const view = await judgeArm(task, taste, arm, second);
      views[kind] = drawn.rewards ? { ...view, ...rewardView(prompts, drawn.rewards, config) } : view;
    }
    const result = {
      task: task.name,
      taste: taste.name,
      model: await weightsDigest(pipeline.unet),
      judged: { unseen: views.unseen, seen: views.seen },
      wordOrder: views.wordOrder,
    };
    yield { type: "result", summary: result };
    return result;
  } finally {
    pipeline.dispose();
    classifier.dispose();
    scorer?.model.dispose();
  }
}
