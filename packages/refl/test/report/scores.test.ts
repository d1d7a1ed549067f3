/** Scores as JSON and CSV for other programs. */
import { expect, it } from "vitest";
import { formatCsv, formatScores } from "../../src/report/scores.ts";

const scored = [
  { file: "a.png", prompt: 'a "red" cat, big', score: 0.25 },
  { file: "b.png", prompt: "two\nlines", score: -1 },
];

it("quotes cells that need it", () => {
  expect(formatScores(scored, "csv")).toBe(
    'file,prompt,score\r\na.png,"a ""red"" cat, big",0.25\r\nb.png,"two\nlines",-1\r\n',
  );
  expect(formatScores([{ ...scored[0]!, rank: 1 }], "csv")).toMatch(/^file,prompt,score,rank\r\n.*,0\.25,1\r\n$/);
  expect(formatCsv(["x"], [])).toBe("x\r\n");
});

it("gives the records as JSON", () => {
  expect(JSON.parse(formatScores(scored, "json"))).toEqual(scored);
});
