/** Interleaved timing: every round runs every engine once, in an order that rotates, so that what disturbs the machine disturbs all. */
import type { Clock } from "./clock.ts";
import type { Engine, Program } from "./engines/engine.ts";
import { type Summary, summarize } from "./stats.ts";

export interface Entrant {
  readonly engine: Engine;
  readonly program: Program;
}

export interface Timing {
  readonly wall: Summary;
  readonly cpu: Summary | null;
}

export interface MeasureOptions {
  readonly rounds: number;
  /** Runs of one engine in one round last about this long. */
  readonly roundMs: number;
  readonly maxIterations: number;
}

async function timed(
  { engine, program }: Entrant,
  iterations: number,
  clock: Clock,
): Promise<{ wall: number; cpu: number | null }> {
  const cpu = (await clock.workers?.()) ?? 0;
  const wall = clock.wall();
  for (let i = 0; i < iterations; i++) {
    const running = program.run();
    if (running) await running;
  }
  await engine.sync();
  const spent = clock.wall() - wall;
  return {
    wall: spent / iterations,
    cpu: clock.workers ? ((await clock.workers()) - cpu) / iterations : null,
  };
}

/** Medians per iteration of each entrant, in their order, after one untimed run each; the error of one that threw, whose turns the others then have. */
export async function measure(
  entrants: readonly Entrant[],
  clock: Clock,
  { rounds, roundMs, maxIterations }: MeasureOptions,
): Promise<(Timing | Error)[]> {
  const failures: (Error | null)[] = entrants.map(() => null);
  const turn = async (at: number, iterations: number): Promise<{ wall: number; cpu: number | null } | null> => {
    if (failures[at]) return null;
    try {
      return await timed(entrants[at]!, iterations, clock);
    } catch (cause) {
      failures[at] = cause instanceof Error ? cause : new Error(String(cause));
      return null;
    }
  };
  const iterations: number[] = [];
  for (const at of entrants.keys()) {
    await turn(at, 1);
    const wall = (await turn(at, 1))?.wall ?? 0;
    iterations.push(Math.min(maxIterations, Math.max(1, Math.ceil(roundMs / Math.max(wall, 0.01)))));
  }
  const walls: number[][] = entrants.map(() => []);
  const cpus: number[][] = entrants.map(() => []);
  for (let round = 0; round < rounds; round++)
    for (let i = 0; i < entrants.length; i++) {
      const at = (round + i) % entrants.length;
      const found = await turn(at, iterations[at]!);
      if (!found) continue;
      walls[at]!.push(found.wall);
      if (found.cpu !== null) cpus[at]!.push(found.cpu);
    }
  return entrants.map(
    (_, at) => failures[at] ?? { wall: summarize(walls[at]!), cpu: cpus[at]!.length ? summarize(cpus[at]!) : null },
  );
}
