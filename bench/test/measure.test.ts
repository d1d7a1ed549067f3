/** Interleaving: who runs when, and what is counted. */
import { expect, it } from "vitest";
import type { Entrant } from "../src/measure.ts";
import { measure } from "../src/measure.ts";

/** Engines whose iteration takes a fixed time of a clock that only they move. */
function bench(costs: readonly number[]) {
  let now = 0;
  let cpu = 0;
  const order: number[] = [];
  const entrants = costs.map(
    (cost, i): Entrant => ({
      engine: {
        name: `e${i}`,
        version: "",
        sync: async () => void order.push(i),
        prepare: async () => null,
        dispose: () => {},
      },
      program: {
        run: () => {
          now += cost;
          cpu += 2 * cost;
        },
        read: async () => ({}),
        dispose: () => {},
      },
    }),
  );
  return { entrants, order, clock: { wall: () => now, workers: () => cpu, threads: 2 } };
}

it("rotates the order and divides by the iterations", async () => {
  const { entrants, order, clock } = bench([10, 25]);
  const timings = await measure(entrants, clock, { rounds: 3, roundMs: 100, maxIterations: 8 });
  expect(timings).toEqual([
    { wall: { median: 10, mad: 0 }, cpu: { median: 20, mad: 0 } },
    { wall: { median: 25, mad: 0 }, cpu: { median: 50, mad: 0 } },
  ]);
  expect(order).toEqual([0, 0, 1, 1, 0, 1, 1, 0, 0, 1]);
});

it("has no CPU times where the clock has none", async () => {
  const { entrants, clock } = bench([3]);
  const [timing] = await measure(entrants, { ...clock, workers: null }, { rounds: 2, roundMs: 1, maxIterations: 5 });
  expect(timing).toEqual({ wall: { median: 3, mad: 0 }, cpu: null });
});

it("waits for a clock of another process, outside of what is timed", async () => {
  const { entrants, clock } = bench([10]);
  const workers = async (): Promise<number> => {
    const now = clock.workers();
    await Promise.resolve();
    return now;
  };
  const [timing] = await measure(entrants, { ...clock, workers }, { rounds: 1, roundMs: 10, maxIterations: 5 });
  expect(timing).toEqual({ wall: { median: 10, mad: 0 }, cpu: { median: 20, mad: 0 } });
});

it("goes on without an engine that throws while it is timed", async () => {
  const { entrants, clock } = bench([10, 20]);
  let runs = 0;
  const failing: Entrant = {
    ...entrants[0]!,
    program: {
      ...entrants[0]!.program,
      run: () => {
        if (++runs > 2) throw new Error("lost");
      },
    },
  };
  const timings = await measure([failing, entrants[1]!], clock, { rounds: 3, roundMs: 20, maxIterations: 5 });
  expect(timings).toEqual([new Error("lost"), { wall: { median: 20, mad: 0 }, cpu: { median: 40, mad: 0 } }]);
  expect(runs).toBe(3);
});
