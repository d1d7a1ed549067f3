/** A child process that takes a few whole training steps of emoji32 on untrained models and prints their times: `training.mjs refl|reward`. */
import { BlipRewardModel } from "@refl/models";
import {
  ImageReward,
  listExamples,
  modelPreset,
  newPipeline,
  type RankedPictures,
  type Run,
  taskNamed,
  taskTokenizer,
  trainRefl,
  trainRewardModel,
} from "@refl/refl";
import { createDevice, type Device, scope, zeros } from "@refl/tensor";
import { nodeHost } from "@refl/tensor/node";
import { summarize } from "../stats.ts";
import { type DriverThreads, watchDriverThreads } from "../threads.node.ts";
import type { TrainingReport } from "./reports.ts";

const TASK = taskNamed("emoji32");
const WORDS = TASK.vocabulary;
/** Steps that are timed, after those that compile, capture and warm up. */
const WARM = 2;
const TIMED = 7;
const STEPS = WARM + TIMED;
/** Side of the product that a step's rate is compared with. */
const SIDE = 1024;

const prompt = (_seed: number, index: number): string => `${WORDS[index % WORDS.length]}`;

/** Pictures of noise: what a step costs does not depend on what they show. */
function picture(seed: number): Uint8Array {
  let state = (seed + 1) * 2_654_435_761;
  return Uint8Array.from({ length: 3 * TASK.size ** 2 }, () => {
    state = Math.imul(state, 1_664_525) + 1_013_904_223;
    return state >>> 24;
  });
}

function newReward(device: Device): ImageReward {
  const tokenizer = taskTokenizer(TASK);
  const { blip, rewardHead } = modelPreset(TASK, tokenizer.vocabSize);
  const model = new BlipRewardModel({ ...blip, ...rewardHead }).initialize(device, 1);
  return new ImageReward(device, model, tokenizer);
}

/** ReFL as `train refl` does it by default; the graded step is always the last one, so that all steps are one plan. */
function refl(device: Device): Run<unknown> {
  const examples = listExamples(
    "noise",
    TASK.size,
    Array.from({ length: 8 }, (_, i) => ({ caption: prompt(0, i), rgb: picture(i) })),
  );
  return trainRefl({
    pipeline: newPipeline(TASK, device, 1),
    scorer: newReward(device),
    prompt,
    examples,
    objective: { timestepShift: 3, weighting: { kind: "inverse-variance" } },
    steps: STEPS,
    batchSize: 16,
    pretrainingBatchSize: 8,
    lambda: 0.2,
    pretrainingWeight: 3,
    rewardNoise: 0.3,
    window: 1,
    samplerSteps: 10,
    lora: { rank: 8 },
    lr: 2e-3,
    lrSchedule: "constant",
    warmupSteps: 0,
    weightDecay: 0.01,
    gradientClip: 1,
    emaDecay: 0.9999,
    seed: 1,
    stage: "refl",
    validation: null,
  });
}

/** Eight rankings of four pictures a step, as `train reward` does it by default. */
function reward(device: Device): Run<unknown> {
  const rankings = (first: number, count: number): RankedPictures[] =>
    Array.from({ length: count }, (_, i) => ({
      prompt: prompt(0, first + i),
      rgb: [0, 1, 2, 3].map((j) => picture((first + i) * 4 + j)),
      ranking: [1, 2, 3, 4],
    }));
  return trainRewardModel({
    scorer: newReward(device),
    training: rankings(0, 8 * STEPS),
    validation: rankings(1000, 8),
    heldOut: rankings(2000, 8),
    size: TASK.size,
    epochs: 1,
    rankingsPerStep: 8,
    lr: 1e-3,
    lrSchedule: "cosine",
    warmupSteps: 2,
    weightDecay: 0.01,
    gradientClip: 1,
    noise: 0.2,
    fixRate: 0,
    emaDecay: 0,
    shift: 0,
    seed: 1,
  });
}

/** CPU milliseconds of one product of 1024³. */
async function gemmTime(device: Device, driver: DriverThreads): Promise<number> {
  const a = zeros(device, [SIDE, SIDE]).fill_(0.5);
  const times: number[] = [];
  for (let i = 0; i <= TIMED; i++) {
    const before = driver.workers();
    scope(() => void a.matmul(a));
    await device.sync();
    if (i) times.push(driver.workers() - before);
  }
  return summarize(times).median;
}

async function main(): Promise<TrainingReport> {
  const driver = watchDriverThreads();
  let flops = 0;
  // A line of `explain` for every plan; the first is that of the step.
  const log = (line: string): void => {
    flops ||= 1e9 * Number(/([\d.]+) GFLOP/.exec(line)?.[1] ?? 0);
  };
  const device = await createDevice({ host: nodeHost(), debug: 1, log });
  const run = process.argv[2] === "reward" ? reward(device) : refl(device);
  const wall: number[] = [];
  const cpu: number[] = [];
  let [wallBefore, cpuBefore] = [performance.now(), driver.workers()];
  for (;;) {
    const { value, done } = await run.next();
    if (done) break;
    if (value.type !== "step") continue;
    const [now, workers] = [performance.now(), driver.workers()];
    wall.push(now - wallBefore);
    cpu.push(workers - cpuBefore);
    // The last step of an epoch is followed by the look at the validation pictures, which comes before its event.
    if (wall.length === STEPS - 1) break;
    [wallBefore, cpuBefore] = [now, workers];
  }
  const timed = { wall: summarize(wall.slice(WARM)), cpu: summarize(cpu.slice(WARM)) };
  const { pipelines, dispatches, submits } = device.counters;
  const { peak } = device.memory();
  return {
    ...timed,
    first: { wall: wall[0]!, cpu: cpu[0]! },
    pipelines,
    dispatchesPerStep: dispatches / wall.length,
    submitsPerStep: submits / wall.length,
    peakBytes: peak,
    flops,
    gemmMs: await gemmTime(device, driver),
    software: device.adapter.software,
  };
}

console.log(JSON.stringify(await main()));
process.exit(0);
