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
  expect(timings.map(({ wall }) => wall)).toEqual([
    { median: 10, mad: 0 },
    { median: 25, mad: 0 },
  ]);
  expect(timings.map(({ cpu }) => cpu?.median)).toEqual([20, 50]);
  expect(order).toEqual([0, 0, 1, 1, 0, 1, 1, 0, 0, 1]);
});

it("has no CPU times where the clock has none", async () => {
  const { entrants, clock } = bench([3]);
  const [timing] = await measure(entrants, { ...clock, workers: null }, { rounds: 2, roundMs: 1, maxIterations: 5 });
  expect(timing).toEqual({ wall: { median: 3, mad: 0 }, cpu: null });
});
