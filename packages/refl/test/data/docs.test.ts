/** The examples and figures of docs/data.md are true. */
import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { parseCaptions } from "../../src/data/captions.ts";
import { allCombinations } from "../../src/data/combinations.ts";
import { parseComparisons } from "../../src/data/comparisons.ts";
import { emoji32 } from "../../src/data/emoji32.ts";
import { TASKS } from "../../src/data/tasks.ts";
import { judgeOf } from "../../src/judge/exact.ts";
import { TASTES } from "../../src/judge/taste.ts";

const text = readFileSync(new URL("../../../../docs/data.md", import.meta.url), "utf8");

/** The bodies of the code blocks of a language. */
const blocks = (language: string): string[] =>
  [...text.matchAll(new RegExp(`\`\`\`${language}\\n([\\s\\S]*?)\`\`\``, "g"))].map((match) => match[1]!);

it("the caption file's example is read", () => {
  const entries = blocks("jsonl").flatMap((block) => parseCaptions("docs/data.md", block));
  expect(entries.map(({ fileName }) => fileName)).toEqual(["0001.png", "more/0002.jpg"]);
  for (const entry of entries) expect(emoji32.parseCaption(entry.text).attributes).toBeDefined();
});

it("the comparisons' example is read", () => {
  const comparisons = blocks("json").flatMap((block) => parseComparisons("docs/data.md", block));
  expect(comparisons.map(({ ranking }) => ranking)).toEqual([[2, 1, 3, 2]]);
});

it("the figures and names are the code's", () => {
  for (const task of Object.values(TASKS)) {
    expect(text).toContain(`\`${task.name}\`: ${judgeOf(task).templateCount.toLocaleString("en")}`);
    expect(text).toContain(` ${allCombinations(task.axes).length} `);
    expect(task.vocabulary.length).toBeLessThan(30);
  }
  for (const taste of Object.keys(TASTES)) expect(text).toContain(`\`${taste}\``);
});
