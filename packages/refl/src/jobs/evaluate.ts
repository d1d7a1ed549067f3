/** `eval`: both judges' view of a model's pictures for held-out prompts. */
import type { EvaluateConfig } from "../config/evaluate.ts";
import { testPrompts, wordOrderPrompts } from "../data/splits/test.ts";
import { taskNamed } from "../data/tasks.ts";
import { judgeArm } from "../evaluate/arms.ts";
import { drawPictures } from "../evaluate/pictures.ts";
import { SecondJudge } from "../evaluate/second-judge.ts";
import type { Run } from "../events.ts";
import { tasteNamed } from "../judge/taste.ts";
import { loadClassifier, loadRewardModel } from "../models.ts";
import type { EvaluatedPictures, PromptKind } from "../report/table.ts";
import type { JobContext } from "./context.ts";
import { weightsDigest } from "./digest.ts";
import { loadPipeline } from "./sampler.ts";
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

/** Draws the test prompts from their fixed seeds, the seen ones also in an unused word order, and judges the pictures. */
export async function* runEvaluate(config: EvaluateConfig, context: JobContext): Run<EvaluationResult> {
  const { device, signal } = context;
  const task = taskNamed(config.task);
  const taste = tasteNamed(config.taste, task);
  const shipped = await context.shipped(task.name);
  const folder = config.model ? await context.open(config.model) : shipped.base;
  const pipeline = await loadPipeline(folder, device, config.sampler);
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
      const texts = prompts.map((p) => p.text);
      const options = { ...config, stage: "evaluate" as const, ...(signal ? { signal } : {}) };
      const rgb = yield* inStage("evaluate", SET_TITLES[kind], {}, device, () =>
        drawPictures(
          pipeline,
          texts,
          prompts.map((p) => p.seed),
          options,
        ),
      );
      signal?.throwIfAborted();
      const view = await judgeArm(task, taste, { rgb, attributes: prompts.map((p) => p.attributes) }, second);
      const rewards = scorer ? await scorer.score(texts, rgb, task.size) : null;
      views[kind] = rewards ? { ...view, reward: rewards.reduce((a, b) => a + b, 0) / rewards.length } : view;
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
