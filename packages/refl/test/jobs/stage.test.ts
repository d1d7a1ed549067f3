/** Stages: their events, their times, and shader compilation inside them as a stage of its own that no other stage counts. */
import { describe, expect, it } from "vitest";
import type { RunEvent, StageName } from "../../src/events.ts";
import { inStage, type StageSeconds } from "../../src/jobs/stage.ts";
import { finish } from "../train/tiny.ts";

/** Stands for a device: tests say what it has compiled. */
function compiler() {
  const counters = { pipelines: 0, compileSeconds: 0, dispatches: 0, submits: 0 };
  const compile = (seconds: number): void => {
    counters.compileSeconds += seconds;
    const end = performance.now() + 1000 * seconds;
    while (performance.now() < end);
  };
  return { device: { counters }, compile };
}

const step = (stage: StageName, number: number): RunEvent => ({
  type: "step",
  stage,
  step: number,
  total: 3,
  metrics: {},
});

const names = (events: readonly RunEvent[]): string[] =>
  events.map((event) =>
    event.type === "step" ? `step ${event.step}` : "stage" in event ? `${event.type} ${event.stage}` : "",
  );

describe("inStage", () => {
  it("announces compilation before a first step that needs it, tells later ones, and counts nothing twice", async () => {
    const { device, compile } = compiler();
    const seconds: StageSeconds = { compile: 1, reward: 2 };
    const start = performance.now();
    const { result, events } = await finish(
      inStage("reward", "some", seconds, device, async function* () {
        compile(0.2);
        yield step("reward", 1);
        compile(0.01);
        yield step("reward", 2);
        compile(0.15);
        yield step("reward", 3);
        compile(0.02);
        return 7;
      }),
    );
    const wall = (performance.now() - start) / 1000;
    expect(result).toBe(7);
    expect(names(events)).toEqual([
      "stage reward",
      "stage compile",
      "stage-end compile",
      "step 1",
      "step 2",
      "stage compile",
      "stage-end compile",
      "step 3",
      "stage-end reward",
    ]);
    const told = events.flatMap((event) =>
      event.type === "stage-end" && event.stage === "compile" ? [event.seconds] : [],
    );
    expect(told[0]).toBeCloseTo(0.2, 9);
    expect(told[1]).toBeCloseTo(0.16, 9);
    expect(seconds.compile).toBeCloseTo(1.36, 9);
    const own = seconds.reward! - 2;
    expect(own).toBeGreaterThan(0.02);
    expect(own + 0.36).toBeLessThan(wall + 0.001);
  });

  it("says nothing of compilation where nothing is compiled", async () => {
    const { device } = compiler();
    const seconds: StageSeconds = {};
    const { events } = await finish(inStage("load", "models", seconds, device, async () => 1));
    expect(names(events)).toEqual(["stage load", "stage-end load"]);
    expect(Object.keys(seconds)).toEqual(["load"]);
  });

  it("ends the part when the reader stops or the part fails", async () => {
    const { device } = compiler();
    let ended = 0;
    const part = async function* () {
      try {
        yield step("refl", 1);
        throw new Error("broken");
      } finally {
        ended++;
      }
    };
    for await (const event of inStage("refl", "", {}, device, part)) if (event.type === "step") break;
    expect(ended).toBe(1);
    await expect(finish(inStage("refl", "", {}, device, part))).rejects.toThrow("broken");
    expect(ended).toBe(2);
  });
});
