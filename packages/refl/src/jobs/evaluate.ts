/** `eval`: both judges' view of a model's pictures for held-out prompts. */
import { TextToImagePipeline } from "@refl/models";
import type { EvaluateConfig } from "../config/evaluate.ts";
import { testPrompts } from "../data/splits/test.ts";
import { taskNamed } from "../data/tasks.ts";
import { judgeArm } from "../evaluate/arms.ts";
import { drawPictures } from "../evaluate/pictures.ts";
import { SecondJudge } from "../evaluate/second-judge.ts";
import type { Run } from "../events.ts";
import { tasteNamed } from "../judge/taste.ts";
import { loadClassifier, loadRewardModel } from "../models.ts";
import type { ArmJudgement } from "../report/summary.ts";
import type { PromptKind } from "../report/table.ts";
import type { JobContext } from "./context.ts";
import { weightsDigest } from "./digest.ts";
import { inStage } from "./stage.ts";

/** What an evaluation found, by kind of prompts, with the digest of the weights that it was measured on. */
export interface EvaluationResult {
  readonly task: string;
  readonly taste: string;
  readonly model: string;
  readonly judged: Readonly<Record<PromptKind, ArmJudgement & { readonly reward?: number }>>;
}

/** Draws the test prompts from their fixed seeds and judges the pictures. */
export async function* runEvaluate(config: EvaluateConfig, context: JobContext): Run<EvaluationResult> {
  const { device, signal } = context;
  const task = taskNamed(config.task);
  const taste = tasteNamed(config.taste, task);
  const shipped = await context.shipped(task.name);
  const pipeline = await TextToImagePipeline.fromFolder(
    config.model ? await context.open(config.model) : shipped.base,
    device,
  );
  const classifier = await loadClassifier(shipped.classifier, device);
  const scorer = config.reward ? await loadRewardModel(await context.open(config.reward), device) : null;
  try {
    const second = new SecondJudge(classifier, device, task);
    const judged: Partial<Record<PromptKind, ArmJudgement & { reward?: number }>> = {};
    for (const kind of ["unseen", "seen"] as const) {
      const prompts = testPrompts(task, kind === "seen" ? "test-seen" : "test-unseen", config.pictures);
      const texts = prompts.map((p) => p.text);
      const options = { ...config, stage: "evaluate" as const, ...(signal ? { signal } : {}) };
      const rgb = yield* inStage("evaluate", `${kind} prompts`, {}, device, () =>
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
      judged[kind] = rewards ? { ...view, reward: rewards.reduce((a, b) => a + b, 0) / rewards.length } : view;
    }
    const result = {
      task: task.name,
      taste: taste.name,
      model: await weightsDigest(pipeline.unet),
      judged: judged as EvaluationResult["judged"],
    };
    yield { type: "result", summary: result };
    return result;
  } finally {
    pipeline.dispose();
    classifier.dispose();
    scorer?.model.dispose();
  }
}
