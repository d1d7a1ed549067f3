/** A made-up summary and made-up pictures to try the report on. */
import type { RgbImage } from "../../src/io/grid.ts";
import { ARMS, type ArmJudgement, type DemoSummary, type ReportPicture } from "../../src/report/index.ts";

function judgement(score: number, vivid: number, unseen: boolean): ArmJudgement {
  const part = (mean: number, standardError: number | null = 0.02) => ({ mean, standardError, count: 128 });
  return {
    score,
    standardError: 0.0153,
    pictures: 128,
    parts: {
      score: part(score, 0.0153),
      alignment: part(score + 0.12),
      vivid: part(vivid),
      vividness: part(vivid - 0.04),
      fidelity: part(0.58),
      object: part(unseen ? 0.71 : 0.86),
      background: part(unseen ? 0.42 : 0.83),
      layout: part(0.96, 0.01),
      recognised: part(unseen ? 0.69 : 0.84),
      diversity: part(0.21 - vivid / 20, 0.004),
      frechet: part(31 - 20 * vivid, null),
    },
  };
}

const steps = Array.from({ length: 41 }, (_, i) => i);

/** A run whose reward goes on rising after the judge's score has begun to fall. */
export const exampleSummary: DemoSummary = {
  version: 1,
  createdAt: "2025-01-02T03:04:05.000Z",
  task: "emoji32",
  taste: "judge",
  seed: 0,
  adapter: {
    vendor: "mesa",
    architecture: "",
    device: "",
    description: "llvmpipe (LLVM 15.0.6, 256 bits)",
    software: true,
    host: "node",
  },
  software: { refl: "0.1.0", node: "20.20.2", system: "linux x64" },
  seconds: {
    load: 1.2,
    generate: 41.3,
    annotate: 0.8,
    pretrain: 30,
    reward: 22.5,
    refl: 95.1,
    control: 40.2,
    evaluate: 30.4,
    report: 0.3,
    total: 261.8,
  },
  peakBytes: { host: 812 * 2 ** 20, device: 1204 * 2 ** 20 },
  rewardModel: {
    heldOutAccuracy: 0.843,
    heldOutPairs: 121,
    trainingPairs: 693,
    mean: -0.12,
    deviation: 1.31,
    curve: Array.from({ length: 60 }, (_, i) => ({
      step: i + 1,
      loss: 0.3 + 0.4 * Math.exp(-i / 15) + 0.03 * Math.sin(i * 1.7),
      heldOutAccuracy: i % 10 === 9 ? 0.84 - 0.25 * Math.exp(-i / 12) : null,
    })),
  },
  base: { seen: judgement(0.723, 0.37, false), unseen: judgement(0.54, 0.27, true) },
  control: { seen: judgement(0.728, 0.39, false), unseen: judgement(0.546, 0.31, true) },
  refl: { seen: judgement(0.79, 0.86, false), unseen: judgement(0.617, 0.84, true) },
  bestOf4: { seen: judgement(0.77, 0.62, false), unseen: judgement(0.592, 0.55, true) },
  curves: {
    refl: steps.map((step) => ({
      step,
      reward: -2.1 + 4.8 * (1 - Math.exp(-step / 25)) + 0.15 * Math.sin(step * 2.3),
      judge: step % 5 === 0 ? 0.54 + 0.09 * Math.sin((Math.PI * step) / 42) : null,
      judgeStandardError: step % 5 === 0 ? 0.016 : null,
    })),
    control: steps
      .filter((step) => step % 5 === 0)
      .map((step) => ({ step, reward: null, judge: 0.54 + 0.0003 * step, judgeStandardError: 0.016 })),
  },
  earlyStop: { step: 20, lastStep: 40, stoppedEarly: true },
  checkpoints: { base: "a1".repeat(32), reward: "b2".repeat(32), control: "c3".repeat(32), refl: "d4".repeat(32) },
  config: {
    task: "emoji32",
    taste: "judge",
    seed: 0,
    refl: { steps: 50, lambda: 0.2, note: "</pre><script>alert(1)</script>" },
  },
};

/** A disc on a plain ground: `strength` 0 is washed out, 1 is vivid. */
function disc(hue: number, ground: number, strength: number): RgbImage {
  const size = 32;
  const rgb = new Uint8Array(size * size * 3);
  const colour = (h: number, c: number): number => {
    const vivid = 127 + 127 * Math.cos(((h + c * 120) * Math.PI) / 180);
    return Math.round(210 + (vivid - 210) * (0.25 + 0.75 * strength));
  };
  for (let y = 0; y < size; y++)
    for (let x = 0; x < size; x++)
      for (let c = 0; c < 3; c++) {
        const inside = Math.hypot(x - 15.5, y - 15.5) < 10;
        rgb[(y * size + x) * 3 + c] = colour(inside ? hue : ground, c);
      }
  return { width: size, height: size, rgb };
}

/** Pictures of both kinds of prompts; with `bestOf4` or without. */
export function examplePictures(bestOf4: boolean): ReportPicture[] {
  const strengths = { base: 0.1, control: 0.2, refl: 1, bestOf4: 0.6 };
  const names = [
    "a cat on a blue background",
    "two small apples on green",
    "a <big> fish & chips",
    "a rocket on the left",
  ];
  return (["unseen", "seen"] as const).flatMap((kind, k) =>
    [...names, ...names.slice(0, 2)].map((caption, i) => ({
      caption,
      kind,
      seed: 1000 + i,
      images: Object.fromEntries(
        ARMS.filter((arm) => bestOf4 || arm !== "bestOf4").map((arm) => [
          arm,
          disc(i * 75 + k * 40, 200 + i * 50, strengths[arm]),
        ]),
      ) as unknown as ReportPicture["images"],
      scores: { base: 0.41, control: 0.44, refl: 0.83, bestOf4: 0.66 },
    })),
  );
}
