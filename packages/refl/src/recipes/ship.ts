/** The recipe of the shipped models: for each task a base model, a BLIP and a second judge, from nothing but seeds. */
import { saveModel, type WordTokenizer, type WritableModelFolder } from "@refl/models";
import type { Device } from "@refl/tensor";
import { taskNamed } from "../data/tasks.ts";
import { trainClassifier } from "../evaluate/second-judge.ts";
import type { Run } from "../events.ts";
import { newBlip, newClassifier, newPipeline, taskTokenizer } from "../models.ts";
import { trainBase } from "../train/base.ts";
import { pretrainBlip } from "../train/blip.ts";
import { taskExamples } from "../train/examples.ts";

/** Steps and rates of one task's models. */
export interface ShipRecipe {
  readonly seed: number;
  readonly base: { readonly steps: number; readonly batchSize: number; readonly lr: number };
  readonly blip: { readonly steps: number; readonly batchSize: number; readonly lr: number };
  readonly classifier: { readonly steps: number; readonly batchSize: number; readonly lr: number };
}

/** What made the folders in `assets/models`: a change of a kernel's order of additions changes the bits that a recipe gives, and the folders have to be made anew. */
export const SHIP_RECIPES: Readonly<Record<string, ShipRecipe>> = {
  shapes16: {
    seed: 1,
    base: { steps: 2500, batchSize: 32, lr: 2e-3 },
    blip: { steps: 2000, batchSize: 32, lr: 1e-3 },
    classifier: { steps: 1500, batchSize: 64, lr: 2e-3 },
  },
  emoji32: {
    seed: 1,
    base: { steps: 5000, batchSize: 16, lr: 1.5e-3 },
    blip: { steps: 2500, batchSize: 32, lr: 1e-3 },
    classifier: { steps: 500, batchSize: 64, lr: 2e-3 },
  },
};

/** Which of a task's models. */
export type ShippedModel = "base" | "blip" | "classifier";

/** Trains one of a task's models by its recipe and writes it in f16. The same device gives the same bytes. */
export async function* ship(
  taskName: string,
  which: ShippedModel,
  device: Device,
  folder: WritableModelFolder,
  recipe = SHIP_RECIPES[taskName]!,
): Run<Readonly<Record<string, number>>> {
  const task = taskNamed(taskName);
  const { seed } = recipe;
  if (which === "base") {
    const pipeline = newPipeline(task, device, seed);
    const objective = { timestepShift: 3, weighting: { kind: "inverse-variance" } } as const;
    const result = yield* trainBase({
      ...recipe.base,
      pipeline,
      objective,
      examples: taskExamples(task),
      lrSchedule: "cosine",
      warmupSteps: 100,
      weightDecay: 0.01,
      gradientClip: 1,
      emaDecay: 0.995,
      seed,
    });
    await pipeline.save(folder, { dtype: "F16" });
    pipeline.dispose();
    return result;
  }
  if (which === "blip") {
    const model = newBlip(task, device, seed);
    const tokenizer: WordTokenizer = taskTokenizer(task);
    const result = yield* pretrainBlip({
      ...recipe.blip,
      warmupSteps: 50,
      noise: 0.5,
      hardNegatives: 0.5,
      device,
      model,
      tokenizer,
      examples: taskExamples(task),
      seed,
    });
    await saveModel(model, folder, { dtype: "F16" });
    await tokenizer.save(folder, "tokenizer");
    model.dispose();
    return result;
  }
  const model = newClassifier(task, device, seed);
  const result = yield* trainClassifier({ ...recipe.classifier, device, model, task, seed });
  await saveModel(model, folder, { dtype: "F16" });
  model.dispose();
  return result;
}
