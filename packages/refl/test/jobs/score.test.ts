/** Places of pictures among those of their prompt. */
import { expect, it } from "vitest";
import { rankByReward } from "../../src/jobs/score.ts";

it("ranks each prompt's pictures by themselves, with equal rewards in one place", () => {
  const scored = [
    { file: "a", prompt: "cat", reward: 0.1 },
    { file: "b", prompt: "dog", reward: 5 },
    { file: "c", prompt: "cat", reward: 0.7 },
    { file: "d", prompt: "cat", reward: 0.7 },
    { file: "e", prompt: "dog", reward: -5 },
  ];
  expect(rankByReward(scored).map(({ file, rank }) => `${file}${rank}`)).toEqual(["c1", "d1", "a3", "b1", "e2"]);
});
