/** Places of pictures among those of their prompt. */
import { expect, it } from "vitest";
import { rankByScore } from "../../src/jobs/score.ts";

it("ranks each prompt's pictures by themselves, each place once, the earlier of equal scores first", () => {
  const scored = [
    { file: "a", prompt: "cat", score: 0.1 },
    { file: "b", prompt: "dog", score: 5 },
    { file: "c", prompt: "cat", score: 0.7 },
    { file: "d", prompt: "cat", score: 0.7 },
    { file: "e", prompt: "dog", score: -5 },
  ];
  expect(rankByScore(scored).map(({ file, rank }) => `${file}${rank}`)).toEqual(["c1", "d2", "a3", "b1", "e2"]);
});
