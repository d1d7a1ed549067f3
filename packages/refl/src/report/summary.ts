/** `summary.json`: what a demo run found, for programs. Documented in docs/summary.md; `version` changes when a reader would have to. */
import { DataError } from "@refl/tensor";
import * as v from "valibot";
import type { Json } from "../run/sink.ts";

/** Version of the schema below. */
export const SUMMARY_VERSION = 1;

/** The compared arms, in the order in which tables and reports show them. */
export const ARMS = ["base", "control", "refl", "bestOf4"] as const;

/** Name of an arm in the summary. */
export type ArmName = (typeof ARMS)[number];

/** The arms' names for people. */
export const ARM_TITLES: Readonly<Record<ArmName, string>> = {
  base: "base",
  control: "control",
  refl: "ReFL",
  bestOf4: "best of 4",
};

const finite = v.pipe(v.number(), v.finite());
const whole = v.pipe(v.number(), v.integer(), v.minValue(0));
const size = v.pipe(finite, v.minValue(0));
const error = v.pipe(finite, v.minValue(0));
const share = v.pipe(v.number(), v.minValue(0), v.maxValue(1));

const PartSchema = v.strictObject({
  mean: finite,
  /** Standard error of the mean; null for numbers that have none, such as a Fréchet distance. */
  standardError: v.nullable(error),
  /** Values that the mean is over. */
  count: whole,
});

const JudgementSchema = v.strictObject({
  score: finite,
  standardError: error,
  /** Pictures judged. */
  pictures: whole,
  parts: v.record(v.string(), PartSchema),
});

const ArmSchema = v.strictObject({ seen: JudgementSchema, unseen: JudgementSchema });

const CurvePointSchema = v.strictObject({
  step: whole,
  /** The reward model's mean reward, in deviations of its training pictures' rewards; null where it was not measured. */
  reward: v.nullable(finite),
  /** The judge's mean score on validation prompts; null where it was not measured. */
  judge: v.nullable(finite),
  judgeStandardError: v.nullable(error),
});

/** Schema of `summary.json`. */
export const SummarySchema = v.strictObject({
  version: v.literal(SUMMARY_VERSION),
  /** When the run ended, ISO 8601. */
  createdAt: v.pipe(v.string(), v.isoTimestamp()),
  task: v.string(),
  taste: v.string(),
  seed: whole,
  adapter: v.strictObject({
    vendor: v.string(),
    architecture: v.string(),
    device: v.string(),
    description: v.string(),
    software: v.boolean(),
    host: v.string(),
  }),
  /** Versions of the programs that computed: `refl`, the runtime, the operating system. */
  software: v.record(v.string(), v.string()),
  /** Wall seconds by stage, and `total`. */
  seconds: v.objectWithRest({ total: size }, size),
  peakBytes: v.strictObject({ host: size, device: size }),
  rewardModel: v.strictObject({
    heldOutAccuracy: share,
    heldOutPairs: whole,
    trainingPairs: whole,
    /** Mean and deviation of the rewards by which they are normalised. */
    mean: finite,
    deviation: v.pipe(finite, v.gtValue(0)),
    curve: v.array(v.strictObject({ step: whole, loss: finite, heldOutAccuracy: v.nullable(share) })),
  }),
  base: ArmSchema,
  control: ArmSchema,
  refl: ArmSchema,
  bestOf4: ArmSchema,
  curves: v.strictObject({ refl: v.array(CurvePointSchema), control: v.array(CurvePointSchema) }),
  /** Which step's weights were kept: the best by the judge on validation prompts. */
  earlyStop: v.strictObject({ step: whole, lastStep: whole, stoppedEarly: v.boolean() }),
  /** SHA-256 of the weights by model (`base`, `reward`, `control`, `refl`). */
  checkpoints: v.record(v.string(), v.string()),
  /** The resolved config. */
  config: v.record(v.string(), v.unknown()),
});

/** What a demo run found. */
export type DemoSummary = v.InferOutput<typeof SummarySchema>;

/** The judge's view of one arm on one kind of prompts. */
export type ArmJudgement = v.InferOutput<typeof JudgementSchema>;

/** One point of a training curve. */
export type CurvePoint = v.InferOutput<typeof CurvePointSchema>;

/** Proves that a value is a summary of this version. Throws `DataError` with `file` and the first wrong field. */
export function checkSummary(value: unknown, file = "summary.json"): DemoSummary {
  const result = v.safeParse(SummarySchema, value);
  if (result.success) return result.output;
  const issue = result.issues[0];
  throw new DataError(file, 0, v.getDotPath(issue) ?? "", issue.message);
}

/** Reads the text of a `summary.json`. Throws `DataError`. */
export function parseSummary(text: string, file = "summary.json"): DemoSummary {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new DataError(file, 0, "", `not JSON: ${(cause as Error).message}`);
  }
  return checkSummary(value, file);
}

/** The text of `summary.json`. Throws `DataError` when the value is no valid summary, so that no wrong file is written. */
export function formatSummary(summary: DemoSummary): string {
  return JSON.stringify(checkSummary(summary) as Json, null, 2) + "\n";
}
