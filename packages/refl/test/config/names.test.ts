/** The names that configs offer are those that exist. */
import { expect, it } from "vitest";
import { TASK_NAMES, TASTE_NAMES } from "../../src/config/index.ts";
import { TASKS } from "../../src/data/tasks.ts";
import { TASTES } from "../../src/judge/taste.ts";

it("offer every task and every taste", () => {
  expect([...TASK_NAMES].sort()).toEqual(Object.keys(TASKS).sort());
  expect([...TASTE_NAMES].sort()).toEqual(Object.keys(TASTES).sort());
});
