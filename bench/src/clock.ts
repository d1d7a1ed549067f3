/** The clocks of a run: wall time everywhere, CPU time of the driver's threads where something can tell it. */

/** Milliseconds of wall time, and of CPU time that the driver's threads have used so far. */
export interface Clock {
  wall(): number;
  /** Read outside of what is timed, so it may ask another process; null where there is no such clock. */
  readonly workers: (() => number | Promise<number>) | null;
  /** How many threads the driver computes with; 1 where `workers` is null. */
  readonly threads: number;
}

/** What the process that started this one tells of the driver's threads. */
export interface DriverTime {
  readonly ms: number;
  readonly threads: number;
}

/** A clock that asks `ask` for the driver's time. Of a GPU it is wall time, since its driver's threads compute nothing. */
export async function remoteClock(ask: () => Promise<DriverTime | null>, software: boolean): Promise<Clock> {
  const now = software ? await ask() : null;
  if (!now) return { wall: () => performance.now(), workers: null, threads: 1 };
  const workers = async (): Promise<number> => {
    const found = await ask();
    if (!found) throw new Error("the clock of the driver's threads is gone");
    return found.ms;
  };
  return { wall: () => performance.now(), workers, threads: now.threads };
}
