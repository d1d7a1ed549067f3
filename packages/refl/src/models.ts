/** Making and loading the models of a task: fresh ones for training, and those in model folders. */
import { noGrad } from "@refl/autograd";
import {
  BlipPretrainingModel,
  BlipRewardModel,
  CLIPTextModel,
  ConvClassifier,
  DDIMScheduler,
  Linear,
  loadModel,
  loadTokenizer,
  type ModelFolder,
  PixelCodec,
  type RewardHead,
  saveModel,
  subfolder,
  TextToImagePipeline,
  UNet2DConditionModel,
  WordTokenizer,
  type WritableModelFolder,
} from "@refl/models";
import { type Device, scope, type Tensor } from "@refl/tensor";
import type { PictureTask } from "./data/task.ts";
import { objectNames } from "./judge/augment.ts";
import { modelPreset, textLength } from "./presets.ts";
import { ImageReward } from "./scorers/image-reward.ts";

/** What a task's models are shipped as: a diffusers folder, a BLIP, and the second judge. */
export interface TaskModels {
  readonly base: ModelFolder;
  readonly blip: ModelFolder;
  readonly classifier: ModelFolder;
}

/** The parts of a folder that holds a task's models. */
export function taskModels(folder: ModelFolder): TaskModels {
  return {
    base: subfolder(folder, "base"),
    blip: subfolder(folder, "blip"),
    classifier: subfolder(folder, "classifier"),
  };
}

/** Words of a task as ids, captions at full length. */
export function taskTokenizer(task: Pick<PictureTask, "vocabulary" | "maxWords">): WordTokenizer {
  return WordTokenizer.fromWords(task.vocabulary, { maxLength: textLength(task) });
}

/** An untrained text-to-image pipeline of the task's size; weights are functions of the seed and their names. */
export function newPipeline(
  task: PictureTask,
  device: Device,
  seed: number,
  predictionType: "epsilon" | "v_prediction" | "sample" = "sample",
): TextToImagePipeline {
  const tokenizer = taskTokenizer(task);
  const preset = modelPreset(task, tokenizer.vocabSize);
  return new TextToImagePipeline(device, {
    tokenizer,
    textEncoder: new CLIPTextModel(preset.textEncoder).initialize(device, seed),
    unet: new UNet2DConditionModel(preset.unet).initialize(device, seed),
    scheduler: new DDIMScheduler({ ...preset.scheduler, prediction_type: predictionType }),
    codec: new PixelCodec(preset.codec),
  });
}

/** An untrained BLIP of the task's size. */
export function newBlip(task: PictureTask, device: Device, seed: number): BlipPretrainingModel {
  return new BlipPretrainingModel(modelPreset(task, taskTokenizer(task).vocabSize).blip).initialize(device, seed);
}

/** An untrained second judge of the task's objects. */
export function newClassifier(task: PictureTask, device: Device, seed: number): ConvClassifier {
  const { classifier } = modelPreset(task, taskTokenizer(task).vocabSize);
  return new ConvClassifier({ ...classifier, num_classes: objectNames(task).length }).initialize(device, seed);
}

/**
 * Changes the first layer of a reward head as little as possible so that the whole head, which is linear, computes `direction` · h:
 * W₁ ← W₁ + aᵀ (direction − a W₁) / (a aᵀ) with a the product of the other layers. Biases stay.
 */
function pointHead(head: RewardHead, direction: Tensor): void {
  const [first, ...others] = head.layers.filter((layer) => layer instanceof Linear);
  const after = others.reduceRight<Tensor | null>(
    (product, { weight }) => product?.matmul(weight.value) ?? weight.value,
    null,
  );
  const weight = first!.weight.value;
  if (!after) return void weight.copy_(direction);
  const change = after
    .transpose(0, 1)
    .matmul(direction.sub(after.matmul(weight)))
    .div(after.square().sum());
  weight.copy_(weight.add(change));
}

/**
 * How much of the matching logit the reward begins with: margins of less than 1 between pictures that fit and pictures that do not, which comparisons
 * can still turn. Of 0.1 and 0.25, tried together with other changes only, this is the one of the better runs.
 */
const MATCHING_GAIN = 0.1;

/**
 * A reward model that starts from a BLIP: encoders as they are, and a head that computes BLIP's matching logit, scaled, so that before the first
 * comparison the reward already says how well a picture fits its prompt. (ImageReward's own head starts at random and on a plateau.)
 */
export async function rewardFromBlip(
  folder: ModelFolder,
  device: Device,
  head: Readonly<Record<string, unknown>>,
  seed: number,
): Promise<ImageReward> {
  const blip = await loadModel((config, file) => new BlipPretrainingModel(config, file), folder, device);
  const { _class_name: _blip, ...config } = blip.toConfig();
  const model = new BlipRewardModel({ ...config, ...head });
  const encoders = new Map(
    [...blip.stateDict()]
      .filter(([key]) => key !== "temp" && !key.startsWith("itm_head."))
      .map(([key, value]) => [`blip.${key}`, value]),
  );
  model.initialize(device, seed);
  model.loadStateDict(encoders, { device, strict: false, file: folder.name });
  noGrad(() =>
    scope(() => {
      const [noMatch, match] = [0, 1].map((row) => blip.itm_head.weight.value.slice(0, row, row + 1)) as [
        Tensor,
        Tensor,
      ];
      pointHead(model.mlp, match.sub(noMatch).mul(MATCHING_GAIN));
    }),
  );
  blip.dispose();
  return new ImageReward(device, model, await loadTokenizer(folder));
}

/** A trained reward model with its tokenizer. Throws `CheckpointError`, also when the folder holds another kind of model. */
export const loadRewardModel = (folder: ModelFolder, device: Device): Promise<ImageReward> =>
  ImageReward.load(folder, device);

/** Writes a reward model with its tokenizer. */
export async function saveRewardModel(scorer: ImageReward, folder: WritableModelFolder): Promise<void> {
  await saveModel(scorer.model, folder);
  await scorer.tokenizer.save(folder);
}

export const loadClassifier = (folder: ModelFolder, device: Device): Promise<ConvClassifier> =>
  loadModel((config, file) => new ConvClassifier(config, file), folder, device);
