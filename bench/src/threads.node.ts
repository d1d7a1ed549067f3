/** CPU time of the driver's threads on Linux: what a software adapter computes with, told apart from the threads that the host itself has. */
import { readdirSync, readFileSync } from "node:fs";
import { availableParallelism } from "node:os";

export interface DriverThreads {
  /** CPU milliseconds that the driver's threads have used so far. */
  workers(): number;
  /** How many threads it computes with, 1 where that cannot be told. */
  threads(): number;
}

/** Whether a thread is one of the driver's, by its id and its name in the process's task list. */
export type IsDriver = (id: string, name: string) => boolean;

function taskIds(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

/** Reads a process's task list as it stands at each call; threads whose process has ended have no time. */
export function threadClock(isDriver: IsDriver, pid: number | "self" = "self", proc = "/proc"): DriverThreads {
  const folder = `${proc}/${pid}/task`;
  const readTask = (id: string, file: string): string => {
    try {
      return readFileSync(`${folder}/${id}/${file}`, "utf8").trim();
    } catch {
      // A thread may end between the listing and the reading.
      return "";
    }
  };
  const driver = (): string[] => taskIds(folder).filter((id) => isDriver(id, readTask(id, "comm")));
  // Time of threads that have ended stays in the sum, so that it never falls.
  const seen = new Map<string, number>();
  return {
    workers: () => {
      for (const id of driver()) {
        const nanoseconds = Number(readTask(id, "schedstat").split(" ")[0]);
        if (nanoseconds > 0) seen.set(id, nanoseconds / 1e6);
      }
      let sum = 0;
      for (const ms of seen.values()) sum += ms;
      return sum;
    },
    threads: () => {
      const pool = driver().filter((id) => /^(llvmpipe-|Thread<)/.test(readTask(id, "comm"))).length;
      // A driver that was opened twice has two pools, of which one works.
      return Math.max(1, Math.min(pool, availableParallelism()));
    },
  };
}

/** Call before the driver starts: the threads that are there already belong to the host, as do its runtimes' pools. */
export function watchDriverThreads(pid: number | "self" = "self"): DriverThreads {
  const before = new Set(taskIds(`/proc/${pid}/task`));
  return threadClock((id, name) => !before.has(id) && !/^(tokio|V8 )/.test(name), pid);
}

/** The driver's threads of Chromium's GPU process: all but the main thread, which validates and encodes as the JS thread does on Node, and Chromium's own. */
export function gpuProcessThreads(pid: number): DriverThreads {
  const own = /^(Chrome_|Viz|ThreadPool|HangWatcher|Perfetto|ANGLE)/;
  return threadClock((id, name) => id !== String(pid) && !own.test(name), pid);
}
