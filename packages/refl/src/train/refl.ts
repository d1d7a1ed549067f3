/** ReFL: the reward's gradient, back through reward model, picture and one sampler step, into the diffusion model's weights. */
import { addLora, type ModelFolder, type TextToImagePipeline, type WritableModelFolder, writeLora } from "@refl/models";
import type { HostTensor, HostTensors, Outputs, Tensor } from "@refl/tensor";
import type { Run, SampleGrid } from "../events.ts";
import { type ImageReward, tokenData } from "../scorers/image-reward.ts";
import { type ExampleSource, exampleBatch } from "./examples.ts";
import { type GradedInputs, gradedData, gradedIndex, gradedPictures } from "./graded.ts";
import { mixNoise, type NoiseInputs, noiseData } from "./noise.ts";
import { type DenoisingInputs, denoisingData, denoisingLoss, type ObjectiveOptions } from "./objective.ts";
import { observed, type TrainingObserver } from "./observer.ts";
import type { SaveOptions } from "./save.ts";
import { type LearningRate, learningRate } from "./schedule.ts";
import { type Precision, TrainingSession } from "./session.ts";

export interface ReflOptions extends LearningRate {
  /** The model that is tuned; its text encoder and codec stay as they are. */
  readonly pipeline: TextToImagePipeline;
  /** Frozen. Its rewards are normalised by its own mean and deviation. */
  readonly scorer: ImageReward;
  /** Prompt number `index` of the tuning; a pure function of (seed, index). */
  readonly prompt: (seed: number, index: number) => string;
  /** The base model's own data, for the pre-training loss; null where there is none of it. */
  readonly examples: ExampleSource | null;
  readonly objective: ObjectiveOptions;
  /** Height and width in pixels of the pictures that are scored. Default those of the model. */
  readonly size?: readonly [height: number, width: number];
  readonly steps: number;
  /** Pictures at once that the reward model scores. */
  readonly batchSize: number;
  /** Pictures at once of the pre-training loss; 0 with the repository's variant. */
  readonly pretrainingBatchSize: number;
  /** Batches of both kinds whose gradients make one step; their graded steps are drawn one by one, and the losses are means over all. Default 1. */
  readonly accumulation?: number;
  /** Steps run op by op instead of being captured: for models whose kernels take longer than their launch, and of whose long steps plans would be large. */
  readonly eager?: boolean;
  /** Weight λ of relu(2 − r); 0 is the control arm, which then draws no pictures at all. */
  readonly lambda: number;
  readonly pretrainingWeight: number;
  /** Largest share of noise mixed into the pictures that the reward model sees, as into those that it learnt from: its gradient is then one that noise does not turn. */
  readonly rewardNoise: number;
  /** The graded step is one of the last `window` steps of the sampler. */
  readonly window: number;
  readonly samplerSteps: number;
  /** Low-rank adapters on the attention projections instead of all weights; they are merged into the UNet at the end. */
  readonly lora: { readonly rank: number } | null;
  readonly betas?: readonly [number, number];
  readonly epsilon?: number;
  readonly weightDecay: number;
  readonly gradientClip: number;
  /** Null keeps the weights themselves. */
  readonly emaDecay: number | null;
  /** Default f32. */
  readonly precision?: Precision;
  readonly seed: number;
  readonly stage: "refl" | "control";
  /** Looks at the model (its moving average is in place) every `every` steps; training stops after `patience` looks without a better score. */
  readonly validation: { readonly every: number; readonly patience: number; readonly look: () => Promise<Look> } | null;
  /** Pictures of fixed prompts and seeds; called before the first step and every `every` steps, with the moving average in place. */
  readonly samples?: { readonly every: number; readonly draw: () => Promise<SampleGrid> };
  /** A checkpoint of this arm, to go on from. */
  readonly resume?: ModelFolder;
  /**
   * Each checkpoint holds the state that resumes the run. The one at an end that `signal` did not bring early is the best: it also holds the model, whose UNet has the
   * weights that are kept.
   */
  readonly save?: SaveOptions;
  readonly observer?: TrainingObserver;
  readonly signal?: AbortSignal;
}

/** What a validation saw: the independent judge's mean score, its standard error, and the reward model's own mean reward on the same pictures. */
export interface Look {
  readonly judge: number;
  readonly standardError: number;
  readonly reward: number;
}

export interface ReflResult {
  /** Looks by step, the untouched model at step 0 first. */
  readonly curve: readonly (Look & { readonly step: number })[];
  /** The step whose weights were kept. */
  readonly kept: number;
  readonly lastStep: number;
  readonly stoppedEarly: boolean;
}

/** The adapters that are merged into a saved model, as diffusers names their file. */
export const LORA_FILE = "pytorch_lora_weights.safetensors";

/**
 * Tunes the UNet until `steps` are done, the judge's patience ends or `signal` is set, and leaves the moving average of the kept look in the weights.
 * Both losses' gradients are added up before one AdamW step; the paper updates in turn, which to first order is the same and would double the
 * optimiser's state or mix two gradient scales in one.
 */
export async function* trainRefl(options: ReflOptions): Run<ReflResult> {
  const { pipeline, scorer, stage, steps, seed, signal, validation, accumulation = 1, observer } = options;
  const codec = pipeline.codec.model;
  for (const frozen of [pipeline.textEncoder, scorer.model, codec]) frozen?.requiresGrad(false);
  pipeline.unet.requiresGrad(options.lora === null);
  const adapters = options.lora && addLora(pipeline.unet, options.lora).initialize(pipeline.device, seed);
  const models = {
    unet: pipeline.unet,
    ...(adapters ? { "unet adapters": adapters } : {}),
    text_encoder: pipeline.textEncoder,
    ...(codec ? { vae: codec } : {}),
    reward: scorer.model,
  };
  const parameters = (adapters ?? pipeline.unet).namedParameters();
  const session = new TrainingSession(pipeline.device, parameters, options, models);
  const losses = (inputs: Outputs, graded: number) => reflLosses(options, session, inputs, graded);
  const tuning = session.prepare("ReFL step", losses, options.eager ? { eagerCalls: Number.POSITIVE_INFINITY } : {});
  const best: Best = {
    judge: Number.NEGATIVE_INFINITY,
    step: 0,
    looksSince: 0,
    curve: [],
    weights: validation ? session.snapshot() : [],
  };
  const look = async (): Promise<Look> => {
    const seen = await observed(observer, "look", () => session.withAverage(() => validation!.look()));
    best.curve.push({ ...seen, step: session.step });
    best.looksSince++;
    if (seen.judge > best.judge) Object.assign(best, { judge: seen.judge, looksSince: 0 });
    if (isKept(best)) {
      for (const t of best.weights) t.dispose();
      Object.assign(best, { step: session.step, weights: session.averageSnapshot() });
    }
    return seen;
  };
  const { curve } = best;
  const { save, samples } = options;
  const grid = (): Promise<SampleGrid> => observed(observer, "grid", () => session.withAverage(samples!.draw));
  try {
    if (options.resume) await resumeBest(session, best, options.resume);
    else {
      if (validation) await look();
      if (samples) yield { type: "samples", stage, step: 0, grid: await grid() };
    }
    while (session.step < steps && !signal?.aborted && !(validation && best.looksSince >= validation.patience)) {
      const metrics = await observed(observer, "step", async () => {
        const first = session.step * accumulation;
        for (let batch = first; batch < first + accumulation - 1; batch++) {
          const { data, graded } = await reflData(options, batch);
          await tuning.accumulate(data, graded);
        }
        const { data, graded } = await reflData(options, first + accumulation - 1);
        return tuning.advance(learningRate(options, session.step + 1, steps), data, graded);
      });
      const seen =
        validation && (session.step % validation.every === 0 || session.step === steps) ? await look() : null;
      const looked = seen ? { judge: seen.judge, validationReward: seen.reward } : {};
      yield { type: "step", stage, step: session.step, total: steps, metrics: { ...metrics, ...looked } };
      if (samples && (session.step % samples.every === 0 || session.step === steps))
        yield { type: "samples", stage, step: session.step, grid: await grid() };
      if (save && session.step < steps && (session.step % save.every === 0 || signal?.aborted)) {
        const write = (folder: WritableModelFolder) => saveBest(session, best, folder);
        const path = await observed(observer, "checkpoint", () => save.checkpoint(session.step, write, false));
        yield { type: "checkpoint", path };
      }
    }
    const settle = (): void => {
      if (validation) session.restoreSnapshot(best.weights);
      else session.keepAverage();
    };
    if (save && (session.step === steps || !signal?.aborted)) {
      const write = async (folder: WritableModelFolder): Promise<void> => {
        await saveBest(session, best, folder);
        settle();
        if (adapters)
          await folder.write(LORA_FILE, writeLora(await adapters.weights(), "diffusers", { file: LORA_FILE }));
        adapters?.merge();
        await save.model(folder);
      };
      const path = await observed(observer, "checkpoint", () => save.checkpoint(session.step, write, true));
      yield { type: "checkpoint", path };
    } else {
      settle();
      adapters?.merge();
    }
  } finally {
    for (const t of best.weights) t.dispose();
    session.dispose();
    adapters?.detach();
    adapters?.dispose();
  }
  const stoppedEarly = session.step < steps && !signal?.aborted;
  return { curve, kept: validation ? best.step : session.step, lastStep: session.step, stoppedEarly };
}

/** What the looks have found so far. */
interface Best {
  /** The judge's best score. */
  judge: number;
  /** Looks since that one. */
  looksSince: number;
  /** The step of the look that is kept. */
  step: number;
  readonly curve: (Look & { readonly step: number })[];
  /** The moving average at the kept look. */
  weights: Tensor[];
}

/**
 * Whether the last look is the one to keep: among looks that the judge cannot tell apart, which are those within half a standard error of its best
 * score, the reward decides, so that a hundredth of luck does not throw away half of the training.
 */
function isKept({ judge, step, curve }: Best): boolean {
  const last = curve.at(-1)!;
  const kept = curve.find((seen) => seen.step === step && seen !== last);
  const least = judge - last.standardError / 2;
  if (!kept || last.judge < least) return !kept;
  return kept.judge < least || last.reward > kept.reward;
}

/** The weights that a state keeps: none without looks. */
const kept = (weights: readonly Tensor[]): readonly Tensor[] | null => (weights.length ? weights : null);

function saveBest(
  session: TrainingSession,
  { judge, step, looksSince, curve, weights }: Best,
  folder: WritableModelFolder,
): Promise<void> {
  // JSON has no −∞, which is the judge's score before the first look.
  const score = Number.isFinite(judge) ? judge : null;
  return session.save(folder, { looks: JSON.stringify({ judge: score, step, looksSince, curve }) }, kept(weights));
}

async function resumeBest(session: TrainingSession, best: Best, checkpoint: ModelFolder): Promise<void> {
  const notes = await session.load(checkpoint, kept(best.weights));
  const { judge, step, looksSince, curve } = JSON.parse(notes.get("looks") ?? "{}");
  Object.assign(best, { judge: judge ?? Number.NEGATIVE_INFINITY, step, looksSince });
  best.curve.push(...curve);
}

/** Which of the two losses a run has: λ = 0 leaves the reward's part out, a pre-training batch or weight of 0 the other. */
const partsOf = ({ lambda, examples, pretrainingBatchSize, pretrainingWeight }: ReflOptions) => ({
  pretraining: examples !== null && pretrainingBatchSize > 0 && pretrainingWeight > 0,
  reward: lambda > 0,
});

/** What the reward's loss is computed from; the scorer has its own tokens of the prompts. */
type RewardInputs = GradedInputs & NoiseInputs & { readonly scorerIds: Tensor; readonly scorerMask: Tensor };

/** The data of both losses in batch `step` of all, and where its pictures are graded. */
async function reflData(options: ReflOptions, step: number): Promise<{ data: HostTensors<Outputs>; graded: number }> {
  const { pipeline, scorer, seed, batchSize, pretrainingBatchSize, samplerSteps, rewardNoise } = options;
  const data: Record<string, HostTensor> = {};
  const parts = partsOf(options);
  if (parts.pretraining) {
    const first = step * pretrainingBatchSize;
    const batch = await exampleBatch(options.examples!, seed, first, pretrainingBatchSize);
    Object.assign(data, denoisingData(pipeline, { ...batch, first }, seed, options.objective));
  }
  const graded = parts.reward ? gradedIndex(seed, step, samplerSteps, options.window) : 0;
  if (parts.reward) {
    const first = step * batchSize;
    const prompts = Array.from({ length: batchSize }, (_, i) => options.prompt(seed, first + i));
    const { ids, mask } = tokenData(scorer.tokenizer, prompts);
    Object.assign(data, gradedData(pipeline, prompts, seed, first, samplerSteps, graded), {
      scorerIds: ids,
      scorerMask: mask,
      ...(rewardNoise > 0 ? noiseData(rewardNoise, seed, "refl reward noise", first, batchSize) : {}),
    });
  }
  return { data, graded };
}

/** Forward and backward of both losses. */
function reflLosses(
  options: ReflOptions,
  session: TrainingSession,
  inputs: Outputs,
  graded: number,
): Record<string, Tensor> {
  const { pipeline, scorer, lambda, samplerSteps, size, accumulation = 1 } = options;
  const scalars: Record<string, Tensor> = {};
  const parts = partsOf(options);
  if (parts.pretraining) {
    const loss = denoisingLoss(pipeline, inputs as DenoisingInputs);
    session.backward(loss.mul(options.pretrainingWeight / accumulation));
    scalars["pretrainingLoss"] = loss.detach();
  }
  if (parts.reward) {
    const given = inputs as RewardInputs;
    const drawn = gradedPictures(pipeline, given, samplerSteps, graded, size);
    const pictures = options.rewardNoise > 0 ? mixNoise(drawn, given) : drawn;
    const raw = scorer.rawRewardOfTokens({ ids: given.scorerIds, mask: given.scorerMask }, pictures);
    const rewards = scorer.model.normalise(raw);
    // φ(r) = relu(2 − r): no reward above two deviations is worth more (ImageReward's repository; the paper says only "ReLU").
    const loss = rewards.neg().add(2).relu().mean();
    session.backward(loss.mul(lambda / accumulation));
    scalars["rewardLoss"] = loss.detach();
    scalars["reward"] = rewards.detach().mean();
  }
  return scalars;
}
