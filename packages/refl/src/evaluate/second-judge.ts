/** The second judge: a classifier trained on augmented renders alone, its answers and its features' distance, beside the exact judge's. */
import { backward, noGrad } from "@refl/autograd";
import type { ConvClassifier } from "@refl/models";
import { crossEntropy, type Device, type HostTensors, scope, type Tensor, tensor } from "@refl/tensor";
import { allCombinations, JITTERS } from "../data/combinations.ts";
import { stackPlanes } from "../data/pixels.ts";
import type { Attributes, PictureTask } from "../data/task.ts";
import type { Run } from "../events.ts";
import { augmentedRender, objectNames, objectOf } from "../judge/augment.ts";
import { fitGaussian, frechetDistance, type Gaussian } from "../judge/frechet.ts";
import { learningRate } from "../train/schedule.ts";
import { TrainingSession } from "../train/session.ts";

/** Pictures at once. */
const BATCH = 128;

/** What the second judge sees in pictures: class scores' best object, and pooled features [N, width]. */
export interface Sight {
  readonly labels: Int32Array;
  readonly features: Float32Array;
  readonly width: number;
}

/** Looks at pictures [N, 3, size, size] in 0..1. */
export async function lookAt(model: ConvClassifier, device: Device, rgb: Float32Array, size: number): Promise<Sight> {
  const each = 3 * size * size;
  const count = rgb.length / each;
  const width = model.config.channels.at(-1)!;
  const labels = new Int32Array(count);
  const features = new Float32Array(count * width);
  for (let start = 0; start < count; start += BATCH) {
    const n = Math.min(BATCH, count - start);
    const [pooled, best] = noGrad(() =>
      scope(() => {
        const x = model.features(tensor(device, rgb.subarray(start * each, (start + n) * each), [n, 3, size, size]));
        return [x, model.head.forward(x).argmax(1)] as const;
      }),
    );
    features.set((await pooled.data()) as Float32Array, start * width);
    labels.set((await best.data()) as Int32Array, start);
    pooled.dispose();
    best.dispose();
  }
  return { labels, features, width };
}

/** The judge's numbers for pictures: share whose object it recognises, and the squared Fréchet distance of their features to vivid renders'. */
export class SecondJudge {
  readonly #model: ConvClassifier;
  readonly #device: Device;
  readonly #task: PictureTask;
  readonly #objects: readonly string[];
  #renders: Gaussian | null = null;

  constructor(model: ConvClassifier, device: Device, task: PictureTask) {
    this.#model = model;
    this.#device = device;
    this.#task = task;
    this.#objects = objectNames(task);
  }

  async judge(
    rgb: Float32Array,
    attributes: readonly Attributes[],
  ): Promise<{ recognised: number[]; frechet: number }> {
    const sight = await lookAt(this.#model, this.#device, rgb, this.#task.size);
    const recognised = attributes.map((a, i) => Number(this.#objects[sight.labels[i]!] === objectOf(this.#task, a)));
    return {
      recognised,
      frechet: frechetDistance(fitGaussian(sight.features, sight.width), await this.#renderGaussian()),
    };
  }

  /** Features of all captions' vivid renders in all places. */
  async #renderGaussian(): Promise<Gaussian> {
    if (!this.#renders) {
      const renders = allCombinations(this.#task.axes).flatMap((a, i) =>
        [JITTERS[i % JITTERS.length]!, JITTERS[(i + 4) % JITTERS.length]!].map((jitter) =>
          this.#task.render(a, { jitter }),
        ),
      );
      const sight = await lookAt(this.#model, this.#device, stackPlanes(renders), this.#task.size);
      this.#renders = fitGaussian(sight.features, sight.width);
    }
    return this.#renders;
  }
}

export interface ClassifierOptions {
  readonly device: Device;
  readonly model: ConvClassifier;
  readonly task: PictureTask;
  readonly steps: number;
  readonly batchSize: number;
  readonly lr: number;
  readonly seed: number;
  readonly signal?: AbortSignal;
}

/** Pictures [B, 3, S, S] in 0..1 and their classes, i32 [B]. */
type ClassifierInputs = { readonly rgb: Tensor; readonly labels: Tensor };

/** Trains the second judge on augmented renders; it never sees a generated picture. Returns its accuracy over the last tenth of the steps. */
export async function* trainClassifier({
  device,
  model,
  task,
  steps,
  batchSize,
  lr,
  seed,
  signal,
}: ClassifierOptions): Run<{ accuracy: number }> {
  const session = new TrainingSession(device, model.namedParameters(), {
    weightDecay: 0.01,
    gradientClip: 1,
    emaDecay: null,
  });
  const training = session.prepare("classifier training step", ({ rgb, labels }: ClassifierInputs) => {
    const scores = model.forward(rgb);
    const loss = crossEntropy(scores, labels);
    backward(loss);
    return { loss, accuracy: scores.argmax(1).eq(labels).to("f32").mean() };
  });
  const recent: number[] = [];
  try {
    while (session.step < steps && !signal?.aborted) {
      const renders = Array.from({ length: batchSize }, (_, i) =>
        augmentedRender(task, seed, session.step * batchSize + i),
      );
      const rate = learningRate({ lr, lrSchedule: "cosine", warmupSteps: 20 }, session.step + 1, steps);
      const data: HostTensors<ClassifierInputs> = {
        rgb: { values: stackPlanes(renders.map((r) => r.rgb)), shape: [batchSize, 3, task.size, task.size] },
        labels: { values: renders.map((r) => r.label), shape: [batchSize], dtype: "i32" },
      };
      const metrics = await training.advance(rate, data, null);
      recent.push(metrics["accuracy"]!);
      yield { type: "step", stage: "pretrain", step: session.step, total: steps, metrics };
    }
  } finally {
    session.dispose();
  }
  const tail = recent.slice(-Math.max(1, Math.floor(recent.length / 10)));
  return { accuracy: tail.reduce((a, b) => a + b, 0) / Math.max(1, tail.length) };
}
