/** Pre-training of a small BLIP on captioned pictures: what the reward model starts from, as the paper's starts from BLIP. */
import { backward } from "@refl/autograd";
import { type BlipPretrainingModel, ImagePreprocessor, type Tokenizer } from "@refl/models";
import { cat, crossEntropy, type Device, type HostTensors, logSoftmax, type Tensor } from "@refl/tensor";
import { intAt, streamOf, uniformAt } from "../data/random.ts";
import type { Run } from "../events.ts";
import { type TokenTensors, tokenData } from "../scorers/image-reward.ts";
import { type ExampleSource, exampleBatch } from "./examples.ts";
import { mixNoise, type NoiseInputs, noiseData } from "./noise.ts";
import { learningRate } from "./schedule.ts";
import { TrainingSession } from "./session.ts";

export interface BlipOptions {
  readonly device: Device;
  readonly model: BlipPretrainingModel;
  readonly tokenizer: Tokenizer;
  readonly examples: ExampleSource;
  readonly steps: number;
  readonly batchSize: number;
  readonly lr: number;
  readonly warmupSteps: number;
  /** Largest share of noise mixed into the pictures. */
  readonly noise: number;
  /** Share of the matching loss's wrong captions that are nearly right, 0..1, where the examples can tell such ones. */
  readonly hardNegatives: number;
  readonly seed: number;
  readonly signal?: AbortSignal;
}

const NEGATIVE = streamOf("matching negative");
const HARD = streamOf("matching negative is hard");

/** Rows that share a caption share the target: [B, B], each row summing to 1. */
function sharedTargets(captions: readonly string[]): Float32Array {
  const n = captions.length;
  const targets = new Float32Array(n * n);
  for (let i = 0; i < n; i++) {
    const same = captions.map((c) => c === captions[i]);
    const share = 1 / same.filter(Boolean).length;
    same.forEach((equal, j) => {
      targets[i * n + j] = equal ? share : 0;
    });
  }
  return targets;
}

/** For each picture the row of a caption that is not its own; its own row where the whole batch shares one caption. */
export function negativeRows(captions: readonly string[], seed: number, first: number): number[] {
  return captions.map((caption, i) => {
    const others = captions.flatMap((other, j) => (other === caption ? [] : [j]));
    return others.length ? others[intAt(seed, NEGATIVE, first + i, others.length)]! : i;
  });
}

/**
 * A wrong caption for each picture: for a share `hard` of them one that is nearly right, where the source can tell one (BLIP §3.2 finds hard
 * negatives by its own similarities, which takes two captions of one meaning for one), for the others that of another picture of the batch.
 */
function wrongCaptions(source: ExampleSource, captions: readonly string[], seed: number, first: number, hard: number) {
  const rows = negativeRows(captions, seed, first);
  return rows.map((row, i) => {
    const nearly = uniformAt(seed, HARD, first + i) < hard ? source.nearlyRight?.(seed, first + i) : undefined;
    return nearly ?? captions[row]!;
  });
}

/** Image-text contrastive loss in both directions (Li et al. 2022, BLIP §3.2), with pictures of equal captions as positives of each other. */
function contrastiveLoss(
  model: BlipPretrainingModel,
  imageTokens: Tensor,
  ids: Tensor,
  mask: Tensor,
  targets: Tensor,
): Tensor {
  const logits = model.itcLogits(model.itcFeatures(imageTokens, ids, mask));
  const direction = (scores: Tensor): Tensor => logSoftmax(scores, 1).mul(targets).sum(1).mean().neg();
  return direction(logits)
    .add(direction(logits.transpose(0, 1)))
    .mul(0.5);
}

/** What both losses are computed from. */
type BlipInputs = NoiseInputs &
  TokenTensors & {
    /** Pictures [B, 3, S, S] in 0..1. */
    readonly rgb: Tensor;
    /** Targets of the contrastive loss, [B, B]. */
    readonly targets: Tensor;
    /** Tokens of the captions and then of wrong ones, [2B, T], and which of them fit their pictures, i32 [2B]. */
    readonly bothIds: Tensor;
    readonly bothMask: Tensor;
    readonly answers: Tensor;
  };

/** The data of one step on examples first, first + 1, …. */
function blipData(
  { tokenizer, examples, seed, noise, hardNegatives }: BlipOptions,
  { rgb, captions }: { readonly rgb: Float32Array; readonly captions: readonly string[] },
  first: number,
): HostTensors<BlipInputs> {
  const count = captions.length;
  const wrong = wrongCaptions(examples, captions, seed, first, hardNegatives);
  const both = tokenData(tokenizer, [...captions, ...wrong]);
  const answers = [...captions.map(() => 1), ...wrong.map((w, i) => (w === captions[i] ? 1 : 0))];
  return {
    rgb: { values: rgb, shape: [count, 3, examples.size, examples.size] },
    ...noiseData(noise, seed, "pre-training noise", first, count),
    ...tokenData(tokenizer, captions),
    targets: { values: sharedTargets(captions), shape: [count, count] },
    bothIds: both.ids,
    bothMask: both.mask,
    answers: { values: answers, shape: [2 * count], dtype: "i32" },
  };
}

/** Trains by contrast and matching; the returned figure is the matching accuracy of the last tenth of the steps. Stops after a step once `signal` is set. */
export async function* pretrainBlip(options: BlipOptions): Run<{ matchingAccuracy: number }> {
  const { device, model, examples, steps, batchSize, seed, signal } = options;
  model.train();
  const session = new TrainingSession(device, model.namedParameters(), {
    weightDecay: 0.01,
    gradientClip: 1,
    emaDecay: null,
  });
  const { vision, image_mean, image_std } = model.config;
  const preprocessor = new ImagePreprocessor(vision.image_size, image_mean, image_std);
  const training = session.prepare("BLIP pre-training step", (inputs: BlipInputs) => {
    const pictures = mixNoise(inputs.rgb, inputs);
    const imageTokens = model.visual_encoder.forward(preprocessor.forward(pictures));
    const contrast = contrastiveLoss(model, imageTokens, inputs.ids, inputs.mask, inputs.targets);
    const logits = model.itmLogits(cat([imageTokens, imageTokens]), inputs.bothIds, inputs.bothMask);
    const matching = crossEntropy(logits, inputs.answers);
    backward(contrast.add(matching));
    const accuracy = logits.argmax(1).eq(inputs.answers).to("f32").mean();
    return { loss: contrast.add(matching), contrastiveLoss: contrast, matchingLoss: matching, accuracy };
  });
  const recent: number[] = [];
  try {
    while (session.step < steps && !signal?.aborted) {
      const first = session.step * batchSize;
      const batch = await exampleBatch(examples, seed, first, batchSize);
      const lr = learningRate({ ...options, lrSchedule: "cosine" }, session.step + 1, steps);
      const metrics = await training.advance(lr, blipData(options, batch, first), null);
      recent.push(metrics["accuracy"]!);
      yield { type: "step", stage: "pretrain", step: session.step, total: steps, metrics };
    }
  } finally {
    session.dispose();
    preprocessor.dispose();
    model.eval();
  }
  const tail = recent.slice(-Math.max(1, Math.floor(recent.length / 10)));
  return { matchingAccuracy: tail.reduce((a, b) => a + b, 0) / Math.max(1, tail.length) };
}
