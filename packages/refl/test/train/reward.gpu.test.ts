/** Training the reward model: it learns a preference, its head does not begin on the plateau, and rewards come out normalised. */
import type { HeadInit } from "@refl/models";
import { DataError, type Device } from "@refl/tensor";
import { beforeAll, describe, expect, it } from "vitest";
import { testDevice } from "../../../tensor/test/device.ts";
import { stackPlanes } from "../../src/data/pixels.ts";
import { streamOf, uniformAt } from "../../src/data/random.ts";
import { weightsDigest } from "../../src/jobs/digest.ts";
import type { RankedPictures } from "../../src/train/pairs.ts";
import { evaluatePairs, type RewardTrainingOptions, trainRewardModel } from "../../src/train/reward.ts";
import { STATE_FILE } from "../../src/train/session.ts";
import { finish, firstDifference, metricsOf, savesStates, stateFolder, tinyReward } from "./tiny.ts";

let device: Device;
beforeAll(async () => {
  device = await testDevice();
});

const SIZE = 16;
const PER_PROMPT = 4;
const WORDS = ["a big red circle", "a small blue square", "cross on a white background", "a green ring"];

/** Grainy pictures of one grey each; the brighter one is the better one. */
function brightness(first: number, count: number): RankedPictures[] {
  return Array.from({ length: count }, (_, k) => {
    const greys = Array.from({ length: PER_PROMPT }, (_, i) =>
      uniformAt(1, streamOf("grey"), (first + k) * PER_PROMPT + i),
    );
    const rgb = greys.map((grey, i) =>
      Uint8Array.from({ length: 3 * SIZE * SIZE }, (_, at) => {
        const grain = uniformAt(2, streamOf("grain"), ((first + k) * PER_PROMPT + i) * 1000 + at);
        return Math.round(255 * (0.7 * grey + 0.3 * grain));
      }),
    );
    const ranking = greys.map((grey) => 1 + greys.filter((other) => other > grey).length);
    return { prompt: WORDS[(first + k) % WORDS.length]!, rgb, ranking };
  });
}

const TRAINING = brightness(0, 24);
const VALIDATION = brightness(100, 6);
const HELD_OUT = brightness(200, 12);

async function train(more: Partial<RewardTrainingOptions> = {}, headInit: HeadInit = "plateau-free") {
  const scorer = more.scorer ?? tinyReward(device, { headInit });
  const { result, events } = await finish(
    trainRewardModel({
      scorer,
      training: TRAINING,
      validation: VALIDATION,
      heldOut: HELD_OUT,
      size: SIZE,
      epochs: 8,
      rankingsPerStep: 8,
      lr: 2e-3,
      lrSchedule: "cosine",
      warmupSteps: 2,
      weightDecay: 0.01,
      gradientClip: 1,
      noise: 0.2,
      fixRate: 0,
      emaDecay: 0,
      shift: 0,
      seed: 1,
      ...more,
    }),
  );
  return { scorer, result, events };
}

describe("trainRewardModel", () => {
  it("learns which picture wins, keeps the best weights, and normalises its rewards", async () => {
    const before = device.memory().inUse;
    const { scorer, result, events } = await train();
    expect(result.trainingPairs).toBe(24 * 6);
    expect(result.heldOutPairs).toBe(12 * 6);
    expect(result.curve[0]!.loss).toBeGreaterThan(0.4);
    expect(result.heldOutAccuracy).toBeGreaterThan(0.9);
    expect(result.curve.map(({ step }) => step)).toEqual(Array.from({ length: 24 }, (_, i) => i + 1));

    const rewards = await scorer.score(
      TRAINING.flatMap((r) => r.rgb.map(() => r.prompt)),
      stackPlanes(TRAINING.flatMap((r) => r.rgb)),
      SIZE,
    );
    const mean = rewards.reduce((a, b) => a + b, 0) / rewards.length;
    const variance = rewards.reduce((a, b) => a + (b - mean) ** 2, 0) / (rewards.length - 1);
    expect(mean).toBeCloseTo(0, 4);
    expect(Math.sqrt(variance)).toBeCloseTo(1, 4);
    expect(scorer.model.toConfig()).toMatchObject({ mean: result.mean, std: result.deviation });

    // The weights left are those of the epoch whose validation loss was the lowest.
    const looks = metricsOf(events).flatMap((m) => (m["heldOutLoss"] === undefined ? [] : [m["heldOutLoss"]]));
    expect(looks).toHaveLength(8);
    const { loss } = await evaluatePairs(scorer, VALIDATION, SIZE);
    expect(loss).toBeCloseTo(Math.min(...looks), 5);
    scorer.model.dispose();
    expect(device.memory().inUse).toBe(before);
  });

  it("leaves the plateau at once with its own head and stays on it with the paper's", async () => {
    // 18 steps; the curve is the loss before each of them.
    const constant = { lrSchedule: "constant", noise: 0, lr: 1e-3, epochs: 6 } as const;
    const ours = await train(constant);
    const paper = await train(constant, "paper");
    const distance = (run: typeof ours) => run.result.curve.map(({ loss }) => Math.abs(loss - Math.LN2));
    const curves = {
      ours: ours.result.curve.map(({ loss }) => loss),
      paper: paper.result.curve.map(({ loss }) => loss),
    };
    const shown = JSON.stringify(curves, (_, value) => (typeof value === "number" ? Number(value.toFixed(5)) : value));
    expect(Math.max(...distance(paper)), shown).toBeLessThan(1e-3);
    expect(Math.max(...curves.ours.slice(-3)), shown).toBeLessThan(0.5);
    ours.scorer.model.dispose();
    paper.scorer.model.dispose();
  });

  it("gives the same bits from the same seed", async () => {
    const runs = [await train({ epochs: 1 }), await train({ epochs: 1 }), await train({ epochs: 1, seed: 2 })];
    const digests = [];
    for (const { scorer } of runs) digests.push(await weightsDigest(scorer.model));
    expect(runs[1]!.result).toEqual(runs[0]!.result);
    expect(digests[1]).toBe(digests[0]);
    expect(digests[2]).not.toBe(digests[0]);
    for (const { scorer } of runs) scorer.model.dispose();
  });

  it("goes on from a state as if it had never stopped, within an epoch and over steps of ties", async () => {
    const tie = ({ prompt, rgb }: RankedPictures) => ({ prompt, rgb, ranking: rgb.map(() => 1) });
    const training = TRAINING.map((ranking, i) => (i < 4 ? tie(ranking) : ranking)).slice(0, 9);
    const run = async (more: Partial<RewardTrainingOptions>, stopAfter = 99) => {
      const stop = new AbortController();
      const states: (readonly [step: number, trained: boolean, state: Uint8Array])[] = [];
      const save = savesStates(4, (step, state, trained) => states.push([step, trained, state]));
      const scorer = tinyReward(device);
      const given = { training, validation: VALIDATION, heldOut: HELD_OUT, size: SIZE, epochs: 2, rankingsPerStep: 2 };
      const rates = { lr: 2e-3, lrSchedule: "cosine", warmupSteps: 2, weightDecay: 0.01, gradientClip: 1 } as const;
      const ended = await finish(
        trainRewardModel({
          ...{
            ...given,
            ...rates,
            scorer,
            noise: 0.2,
            fixRate: 0,
            emaDecay: 0,
            shift: 0,
            seed: 1,
            signal: stop.signal,
          },
          ...{ save, ...more },
        }),
        (event) => {
          if (event.type === "step" && event.step === stopAfter) stop.abort();
        },
      );
      const digest = await weightsDigest(scorer.model);
      scorer.model.dispose();
      return { ...ended, states, digest };
    };
    const straight = await run({});
    expect(straight.result.curve.length).toBeLessThan(10);
    const steps = ({ states }: typeof straight) => states.map(([step, trained]) => [step, trained]);
    expect(steps(straight)).toEqual([
      [4, false],
      [8, false],
      [10, true],
    ]);
    const stopped = await run({}, 7);
    expect(steps(stopped).at(-1)).toEqual([7, true]);
    for (const { states } of [straight, stopped])
      for (const [step, , state] of states) {
        const resumed = await run({ resume: stateFolder(state) });
        expect(metricsOf(resumed.events), `${step}`).toEqual(metricsOf(straight.events).slice(step));
        expect(resumed.result).toEqual(straight.result);
        expect(resumed.digest).toBe(straight.digest);
        expect(firstDifference(resumed.states.at(-1)![2], straight.states.at(-1)![2])).toBe(-1);
      }
    const cut = stateFolder(straight.states[0]![2].subarray(0, 99), "cut");
    await expect(run({ resume: cut })).rejects.toThrow(`cut/${STATE_FILE}: `);
  });

  it("passes over ties, and keeps what it learnt when it is stopped within an epoch", async () => {
    const tie = (ranking: RankedPictures) => ({ ...ranking, ranking: ranking.rgb.map(() => 1) });
    const [one, ...others] = TRAINING as [RankedPictures, ...RankedPictures[]];
    const few = { training: [one, tie(others[0]!), tie(others[1]!)], rankingsPerStep: 1, epochs: 1 };
    const { scorer, result, events } = await train(few);
    expect(metricsOf(events)).toHaveLength(3);
    expect(result).toMatchObject({ trainingPairs: 6 });
    expect(result.curve).toHaveLength(1);
    await expect(train({ training: others.map(tie), scorer })).rejects.toThrow(DataError);
    const start = await weightsDigest(scorer.model);
    const stop = new AbortController();
    const run = trainRewardModel({
      ...{ scorer, training: TRAINING, validation: VALIDATION, heldOut: HELD_OUT, size: SIZE, epochs: 8 },
      ...{ rankingsPerStep: 8, lr: 2e-3, lrSchedule: "constant", warmupSteps: 0, weightDecay: 0.01 },
      ...{ gradientClip: 1, noise: 0, fixRate: 0, emaDecay: 0, shift: 0, seed: 1, signal: stop.signal },
    });
    const stopped = await finish(run, (event) => event.type === "step" && stop.abort());
    expect(stopped.result.curve).toHaveLength(1);
    expect(await weightsDigest(scorer.model)).not.toBe(start);
    scorer.model.dispose();
  });
});

describe("evaluatePairs", () => {
  it("counts equal rewards as wrong and pairs of ties not at all", async () => {
    const scorer = tinyReward(device);
    const [a, b] = VALIDATION[0]!.rgb as [Uint8Array, Uint8Array];
    const same = await evaluatePairs(scorer, [{ prompt: "a cross", rgb: [a, a], ranking: [1, 2] }], SIZE);
    expect(same).toEqual({ accuracy: 0, loss: Math.LN2, pairs: 1 });
    const either = [
      { prompt: "a cross", rgb: [a, b], ranking: [1, 2] },
      { prompt: "a cross", rgb: [b, a], ranking: [1, 2] },
      { prompt: "a cross", rgb: [b, a], ranking: [1, 1] },
    ];
    expect(await evaluatePairs(scorer, either, SIZE)).toMatchObject({ accuracy: 0.5, pairs: 2 });
    // The loss is that of raw rewards, whatever they are normalised by.
    const { loss } = await evaluatePairs(scorer, either, SIZE);
    scorer.model.mean = 3;
    scorer.model.std = 0.25;
    expect((await evaluatePairs(scorer, either, SIZE)).loss).toBeCloseTo(loss, 5);
    scorer.model.dispose();
  });
});
