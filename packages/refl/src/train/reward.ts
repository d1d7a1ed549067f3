/** Training the reward model on ranked pictures: pair loss, best checkpoint by held-out prompts, and the normalisation stored with it. */
import type { BlipRewardModel, ModelFolder, WritableModelFolder } from "@refl/models";
import { DataError, type HostTensor, type HostTensors, type Tensor } from "@refl/tensor";
import { stackPlanes } from "../data/pixels.ts";
import { shuffleAt, streamOf } from "../data/random.ts";
import type { Run } from "../events.ts";
import { type ImageReward, type TokenTensors, tokenData } from "../scorers/image-reward.ts";
import { mixNoise, type NoiseInputs, noiseData, shifted } from "./noise.ts";
import { observed, type TrainingObserver } from "./observer.ts";
import { type BatchPair, type RankedPictures, strictPairs } from "./pairs.ts";
import type { SaveOptions } from "./save.ts";
import { learningRate } from "./schedule.ts";
import { type Precision, TrainingSession, type TrainingStep } from "./session.ts";
import { uniforms } from "./streams.ts";

export interface RewardTrainingOptions {
  /** The scorer whose model is trained; it starts as a pre-trained BLIP with a fresh head. */
  readonly scorer: ImageReward;
  /** Rankings whose pairs train, and rankings of other prompts whose loss chooses the checkpoint. */
  readonly training: readonly RankedPictures[];
  readonly validation: readonly RankedPictures[];
  /** Rankings that the reported accuracy is measured on, best of prompts that neither of the others has. */
  readonly heldOut: readonly RankedPictures[];
  /** Height and width of the pictures. */
  readonly size: number;
  readonly epochs: number;
  /** Rankings per step. */
  readonly rankingsPerStep: number;
  readonly lr: number;
  readonly lrSchedule: "cosine" | "constant";
  readonly warmupSteps: number;
  readonly weightDecay: number;
  readonly gradientClip: number;
  /** Largest share of noise mixed into training pictures. */
  readonly noise: number;
  /** Share of each encoder's layers, the first ones with the embeddings, that stay as pre-training left them (the paper's 70 %). */
  readonly fixRate: number;
  /** Largest decay of the moving average of the weights, which is what looks judge and what is kept; 0 keeps the weights themselves. */
  readonly emaDecay: number | null;
  /** Pictures move by up to so many pixels each way, their edges repeated. */
  readonly shift: number;
  /** Default f32. */
  readonly precision?: Precision;
  readonly seed: number;
  /** A checkpoint of this run, to go on from. */
  readonly resume?: ModelFolder;
  /**
   * Each checkpoint holds the state that resumes the run. The one at the end, which `signal` may bring early, is the best: it also holds the model, which is the
   * best weights with their normalisation.
   */
  readonly save?: SaveOptions;
  readonly observer?: TrainingObserver;
  readonly signal?: AbortSignal;
}

/** What the training of a reward model found. */
export interface RewardTrainingResult {
  readonly heldOutAccuracy: number;
  readonly heldOutPairs: number;
  readonly trainingPairs: number;
  readonly mean: number;
  readonly deviation: number;
  readonly curve: readonly { readonly step: number; readonly loss: number; readonly heldOutAccuracy: number | null }[];
}

const ORDER = streamOf("ranking order");

/** Mean of −log σ(r_better − r_worse) over the pairs, as a product with the ±1 matrix of the pairs (spec of arXiv 2304.05977, eq. 1). */
function pairLoss(rewards: Tensor, signs: Tensor): Tensor {
  return signs.matmul(rewards.unsqueeze(1)).neg().softplus().mean();
}

/** The ±1 matrix of pairs, [pairs, pictures]: +1 for the better picture, −1 for the worse. */
function signsOf(pairs: readonly BatchPair[], pictures: number): HostTensor {
  const signs = new Float32Array(pairs.length * pictures);
  pairs.forEach(([better, worse], row) => {
    signs[row * pictures + better] = 1;
    signs[row * pictures + worse] = -1;
  });
  return { values: signs, shape: [pairs.length, pictures] };
}

/** Share of pairs whose better picture has the higher reward, and their mean loss; equal rewards count as wrong, as the paper's `test.py`. */
export async function evaluatePairs(
  scorer: ImageReward,
  rankings: readonly RankedPictures[],
  size: number,
): Promise<{ accuracy: number; loss: number; pairs: number }> {
  const pictures = rankings.flatMap((r) => r.rgb);
  const prompts = rankings.flatMap((r) => r.rgb.map(() => r.prompt));
  const rewards = await scorer.score(prompts, stackPlanes(pictures), size);
  const pairs = strictPairs(rankings.map((r) => r.ranking));
  let right = 0;
  let loss = 0;
  for (const [better, worse] of pairs) {
    const margin = (rewards[better]! - rewards[worse]!) * scorer.model.std;
    if (margin > 0) right++;
    loss += Math.max(-margin, 0) + Math.log1p(Math.exp(-Math.abs(margin)));
  }
  const count = Math.max(1, pairs.length);
  return { accuracy: right / count, loss: loss / count, pairs: pairs.length };
}

/**
 * Trains until `epochs` are done or `signal` is set, keeps the weights of the best held-out loss, and stores the rewards' mean and
 * deviation over the training pictures in the model, by which its rewards are normalised from then on.
 * @throws DataError when the training rankings have no strict pair
 */
export async function* trainRewardModel(options: RewardTrainingOptions): Run<RewardTrainingResult> {
  const { scorer, training, validation, size, seed, signal, observer } = options;
  const { model, device } = scorer;
  const trainingPairs = strictPairs(training.map((r) => r.ranking)).length;
  if (trainingPairs === 0) throw new DataError("rankings", 0, "ranking", "no two pictures of a prompt differ in rank");
  const perEpoch = Math.ceil(training.length / options.rankingsPerStep);
  const total = options.epochs * perEpoch;
  model.mean = 0;
  model.std = 1;
  freezeFirstLayers(model, options.fixRate);
  const session = new TrainingSession(device, model.namedParameters(), options, { reward: model });
  // Ties make the number of pairs differ from step to step; what comes once need not be captured.
  const ranking = session.prepare("reward training step", rankingLoss(scorer, session), { eagerCalls: 1 });
  const best: Best = { loss: Number.POSITIVE_INFINITY, curve: [], weights: session.snapshot() };
  const { curve } = best;
  let lookedAt = 0;
  const look = async () => {
    model.eval();
    const judge = () => evaluatePairs(scorer, validation, size);
    const heldOut = await observed(observer, "look", () => session.withAverage(judge));
    lookedAt = session.step;
    // Validation rankings without a strict pair choose nothing: the last weights are then the best.
    if (heldOut.pairs === 0 || heldOut.loss < best.loss) {
      for (const t of best.weights) t.dispose();
      Object.assign(best, { loss: heldOut.loss, weights: session.averageSnapshot() });
    }
    return heldOut;
  };
  const end = (): void => {
    for (const t of best.weights) t.dispose();
    session.dispose();
    model.eval();
  };
  /** Leaves the best weights in the model, with the mean and deviation of its rewards. */
  const settle = async (): Promise<void> => {
    // An abort may end an epoch early.
    if (lookedAt !== session.step) await look();
    session.restoreSnapshot(best.weights);
    end();
    const { mean, deviation } = await observed(observer, "end", () => rewardStatistics(scorer, training, size));
    model.mean = mean;
    model.std = deviation;
  };
  const { save } = options;
  try {
    if (options.resume) {
      await resumeBest(session, best, options.resume);
      lookedAt = session.step - (session.step % perEpoch);
    }
    while (session.step < total && !signal?.aborted) {
      const step = session.step;
      const epoch = Math.floor(step / perEpoch);
      const order = shuffleAt(seed, ORDER, epoch, training.length);
      const at = (step % perEpoch) * options.rankingsPerStep;
      const rankings = order.slice(at, at + options.rankingsPerStep).map((i) => training[i]!);
      model.train();
      const lr = learningRate(options, step + 1, total);
      const metrics = await observed(observer, "step", () => rankingStep(options, session, ranking, rankings, lr));
      const heldOut = session.step % perEpoch === 0 ? await look() : null;
      const { loss } = metrics;
      if (loss !== undefined) curve.push({ step: session.step, loss, heldOutAccuracy: heldOut?.accuracy ?? null });
      const more = heldOut ? { accuracy: heldOut.accuracy, heldOutLoss: heldOut.loss } : {};
      yield { type: "step", stage: "reward", step: session.step, total, metrics: { ...metrics, ...more } };
      if (save && session.step % save.every === 0 && session.step < total && !signal?.aborted) {
        const write = (folder: WritableModelFolder) => saveBest(session, best, folder);
        const path = await observed(observer, "checkpoint", () => save.checkpoint(session.step, write, false));
        yield { type: "checkpoint", path };
      }
    }
    if (save) {
      const write = async (folder: WritableModelFolder): Promise<void> => {
        // Before `settle`: what an early end looks at there must not be known to the run that goes on.
        await saveBest(session, best, folder);
        await settle();
        await save.model(folder);
      };
      const path = await observed(observer, "checkpoint", () => save.checkpoint(session.step, write, true));
      yield { type: "checkpoint", path };
    } else await settle();
  } finally {
    end();
  }
  const { mean, std: deviation } = model;
  const heldOut = await observed(observer, "end", () => evaluatePairs(scorer, options.heldOut, size));
  return { heldOutAccuracy: heldOut.accuracy, heldOutPairs: heldOut.pairs, trainingPairs, mean, deviation, curve };
}

/** What the looks have found so far. */
interface Best {
  /** The lowest validation loss. */
  loss: number;
  readonly curve: RewardTrainingResult["curve"][number][];
  /** The weights at that loss. */
  weights: Tensor[];
}

function saveBest(
  session: TrainingSession,
  { loss, curve, weights }: Best,
  folder: WritableModelFolder,
): Promise<void> {
  // JSON has no ∞, which is the loss before the first look.
  const lowest = Number.isFinite(loss) ? loss : null;
  return session.save(folder, { looks: JSON.stringify({ loss: lowest, curve }) }, weights);
}

async function resumeBest(session: TrainingSession, best: Best, checkpoint: ModelFolder): Promise<void> {
  const notes = await session.load(checkpoint, best.weights);
  const { loss, curve } = JSON.parse(notes.get("looks") ?? "{}");
  best.loss = loss ?? Number.POSITIVE_INFINITY;
  best.curve.push(...(curve ?? []));
}

/**
 * Freezes the embeddings and the first ⌊rate · layers⌋ layers of both encoders and, as they take no part in the reward, the contrastive
 * projections. More frozen layers keep a model from learning its few pairs by heart (arXiv 2304.05977 §3.1, "fix rate"). 0 trains all.
 */
export function freezeFirstLayers(model: BlipRewardModel, rate: number): void {
  const { visual_encoder: vision, text_encoder: text, vision_proj, text_proj } = model.blip;
  const fixedBlocks = Math.floor(rate * vision.blocks.length);
  const fixedLayers = Math.floor(rate * text.encoder.layer.length);
  model.requiresGrad(true);
  vision_proj.requiresGrad(false);
  text_proj.requiresGrad(false);
  if (fixedBlocks > 0) {
    vision.requiresGrad(false);
    for (const block of vision.blocks.slice(fixedBlocks)) block.requiresGrad(true);
    vision.norm.requiresGrad(true);
  }
  if (fixedLayers > 0) {
    text.requiresGrad(false);
    for (const layer of text.encoder.layer.slice(fixedLayers)) layer.requiresGrad(true);
  }
}

/** One step on the pairs of some rankings. Rankings of ties alone teach nothing: the step then counts and changes no weight. */
async function rankingStep(
  options: RewardTrainingOptions,
  session: TrainingSession,
  training: TrainingStep<RankingInputs, null>,
  rankings: readonly RankedPictures[],
  lr: number,
): Promise<Record<string, number>> {
  const pairs = strictPairs(rankings.map((r) => r.ranking));
  if (pairs.length === 0) {
    session.step++;
    return { lr };
  }
  const data = rankingData(options, rankings, session.step * options.rankingsPerStep * 16);
  return training.advance(lr, { ...data, signs: signsOf(pairs, data.rgb.shape[0]!) }, null);
}

/** What the loss of some rankings is computed from: pictures, how they are blurred, prompts and pairs. */
type RankingInputs = NoiseInputs & TokenTensors & { readonly rgb: Tensor; readonly signs: Tensor };

/** Forward and backward of one step, on raw rewards of pictures with noise mixed in. */
const rankingLoss = (scorer: ImageReward, session: TrainingSession) => (inputs: RankingInputs) => {
  const loss = pairLoss(scorer.rawRewardOfTokens(inputs, mixNoise(inputs.rgb, inputs)), inputs.signs);
  session.backward(loss);
  return { loss };
};

/** The rankings' pictures, shifted, with their noise and prompts. */
function rankingData(
  { scorer, noise, shift, seed, size }: RewardTrainingOptions,
  rankings: readonly RankedPictures[],
  first: number,
): Omit<HostTensors<RankingInputs>, "signs"> {
  const across = uniforms(seed, "reward shift across", first, 16 * rankings.length);
  const down = uniforms(seed, "reward shift down", first, 16 * rankings.length);
  const pixels = (u: number): number => Math.floor(u * (2 * shift + 1)) - shift;
  const pictures = rankings
    .flatMap((r) => r.rgb)
    .map((rgb, i) => shifted(rgb, size, pixels(across[i]!), pixels(down[i]!)));
  const prompts = rankings.flatMap((r) => r.rgb.map(() => r.prompt));
  return {
    rgb: { values: stackPlanes(pictures), shape: [pictures.length, 3, size, size] },
    ...noiseData(noise, seed, "reward noise", first, pictures.length),
    ...tokenData(scorer.tokenizer, prompts),
  };
}

async function rewardStatistics(
  scorer: ImageReward,
  rankings: readonly RankedPictures[],
  size: number,
): Promise<{ mean: number; deviation: number }> {
  const prompts = rankings.flatMap((r) => r.rgb.map(() => r.prompt));
  const rewards = await scorer.score(prompts, stackPlanes(rankings.flatMap((r) => r.rgb)), size);
  const mean = rewards.reduce((a, b) => a + b, 0) / rewards.length;
  const deviation = Math.sqrt(rewards.reduce((a, b) => a + (b - mean) ** 2, 0) / Math.max(1, rewards.length - 1));
  return { mean, deviation: deviation || 1 };
}
