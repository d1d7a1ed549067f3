/** The judge's parts of all arms as tables, for the terminal and the report. */
import { formatEstimate } from "../evaluate/intervals.ts";
import type { TableEvent } from "../events.ts";
import { ARM_TITLES, ARMS, type ArmJudgement, type DemoSummary } from "./summary.ts";

/** Kinds of prompts that are told apart. */
export const PROMPT_KINDS = ["unseen", "seen"] as const;

/** `unseen`: combinations that no training saw; `seen`: trained combinations with new seeds. */
export type PromptKind = (typeof PROMPT_KINDS)[number];

const KIND_TITLES: Readonly<Record<PromptKind, string>> = {
  unseen: "unseen combinations",
  seen: "seen combinations, new seeds",
};

/** A mean with its standard error: `0.541 ± 0.015`. */
export function formatMean(mean: number, standardError: number | null): string {
  const text = mean.toFixed(3).replace("-", "−");
  return standardError === null ? text : `${text} ± ${standardError.toFixed(3)}`;
}

/** A difference with its sign and standard error: `+0.061 ± 0.021`. */
export function formatDifference(difference: number, standardError: number): string {
  return `${difference < 0 ? "−" : "+"}${formatMean(Math.abs(difference), standardError)}`;
}

/** ReFL's score minus the control's, and the standard error of that difference with the arms taken as independent. */
export function reflMinusControl(
  summary: DemoSummary,
  kind: PromptKind,
): { difference: number; standardError: number } {
  const { refl, control } = summary;
  return {
    difference: refl[kind].score - control[kind].score,
    standardError: Math.hypot(refl[kind].standardError, control[kind].standardError),
  };
}

/** Names of all parts that any arm has, the score's own parts first as the judge orders them. `score` itself is not among them. */
export function partNames(summary: DemoSummary): string[] {
  const names = new Set<string>();
  for (const arm of ARMS)
    for (const kind of PROMPT_KINDS) for (const name of Object.keys(summary[arm][kind].parts)) names.add(name);
  names.delete("score");
  return [...names];
}

/** One part of a judgement as text; a dash where the arm lacks it. */
export function formatPart(judgement: ArmJudgement, name: string): string {
  const part = judgement.parts[name];
  return part ? formatMean(part.mean, part.standardError) : "–";
}

/** One table of all arms for each kind of prompts: the score first, then every part. */
export function summaryTables(summary: DemoSummary): TableEvent[] {
  return PROMPT_KINDS.map((kind) => ({
    type: "table",
    title: `Judge's view, ${KIND_TITLES[kind]} (${summary.refl[kind].pictures} pictures per arm, mean ± standard error)`,
    header: ["", ...ARMS.map((arm) => ARM_TITLES[arm])],
    rows: [
      ["score", ...ARMS.map((arm) => formatMean(summary[arm][kind].score, summary[arm][kind].standardError))],
      ...partNames(summary).map((name) => [name, ...ARMS.map((arm) => formatPart(summary[arm][kind], name))]),
    ],
  }));
}

/** The judge's view of a model's pictures, and the reward model's mean reward where there is one, with its interval over prompts. */
export type EvaluatedPictures = ArmJudgement & {
  readonly reward?: number;
  readonly rewardInterval?: { readonly low: number; readonly high: number };
};

/** Judgements side by side: the score, the reward where it was measured, then every part. */
function judgementTable(title: string, columns: readonly (readonly [title: string, EvaluatedPictures])[]): TableEvent {
  const judgements = columns.map(([, judgement]) => judgement);
  const names = new Set(judgements.flatMap(({ parts }) => Object.keys(parts)));
  names.delete("score");
  const rows = [
    ["score", ...judgements.map(({ score, standardError }) => formatMean(score, standardError))],
    ...Array.from(names, (name) => [name, ...judgements.map((judgement) => formatPart(judgement, name))]),
  ];
  if (judgements.some(({ reward }) => reward !== undefined))
    rows.splice(1, 0, [
      "reward",
      ...judgements.map(({ reward, rewardInterval }) =>
        reward === undefined ? "–" : formatEstimate({ low: reward, high: reward, ...rewardInterval, value: reward }),
      ),
    ]);
  return { type: "table", title, header: ["", ...columns.map(([column]) => column)], rows };
}

/** One model's judgements by kind of prompts, and apart from them how well it reads a word order that no training shows. */
export function evaluationTables(
  judged: Readonly<Record<PromptKind, EvaluatedPictures>>,
  wordOrder: EvaluatedPictures,
): TableEvent[] {
  return [
    judgementTable(
      `Judge's view (${judged.unseen.pictures} pictures each, mean ± standard error)`,
      PROMPT_KINDS.map((kind) => [KIND_TITLES[kind], judged[kind]]),
    ),
    judgementTable("The text encoder's own test: the seen combinations from the same seeds, said otherwise", [
      ["trained word orders", judged.seen],
      ["unused word order", wordOrder],
    ]),
  ];
}
