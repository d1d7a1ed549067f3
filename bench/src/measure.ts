/** Interleaved timing: every round runs every engine once, in an order that rotates, so that what disturbs the machine disturbs all. */
import type { Engine, Program } from "./engines/engine.ts";
import { type Summary, summarize } from "./stats.ts";

/** Milliseconds of wall time, and of CPU time that the driver's threads have used so far where that can be told. */
export interface Clock {
  wall(): number;
  readonly workers: (() => number) | null;
  /** How many threads the driver computes with; 1 where `workers` is null. */
  readonly threads: number;
}

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
  const cpu = clock.workers?.() ?? 0;
  const wall = clock.wall();
  for (let i = 0; i < iterations; i++) {
    const running = program.run();
    if (running) await running;
  }
  await engine.sync();
  return {
    wall: (clock.wall() - wall) / iterations,
    cpu: clock.workers ? (clock.workers() - cpu) / iterations : null,
  };
}

/** Medians per iteration of each entrant, in their order, after one untimed run each. */
export async function measure(
  entrants: readonly Entrant[],
  clock: Clock,
  { rounds, roundMs, maxIterations }: MeasureOptions,
): Promise<Timing[]> {
  const iterations: number[] = [];
  for (const entrant of entrants) {
    await timed(entrant, 1, clock);
    const { wall } = await timed(entrant, 1, clock);
    iterations.push(Math.min(maxIterations, Math.max(1, Math.ceil(roundMs / Math.max(wall, 0.01)))));
  }
  const walls: number[][] = entrants.map(() => []);
  const cpus: number[][] = entrants.map(() => []);
  for (let round = 0; round < rounds; round++)
    for (let turn = 0; turn < entrants.length; turn++) {
      const at = (round + turn) % entrants.length;
      const { wall, cpu } = await timed(entrants[at]!, iterations[at]!, clock);
      walls[at]!.push(wall);
      if (cpu !== null) cpus[at]!.push(cpu);
    }
  return entrants.map((_, i) => ({
    wall: summarize(walls[i]!),
    cpu: cpus[i]!.length ? summarize(cpus[i]!) : null,
  }));
}
