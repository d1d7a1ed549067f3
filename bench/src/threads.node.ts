/** CPU time of the driver's threads on Linux: what a software adapter computes with, told apart from the threads that Node had before it. */
import { readdirSync, readFileSync } from "node:fs";

const TASKS = "/proc/self/task";

const taskIds = (): string[] => {
  try {
    return readdirSync(TASKS);
  } catch {
    return [];
  }
};

/** Call before Dawn starts: the threads that are there already belong to Node. */
export function watchDriverThreads(): { workers: () => number; threads: () => number } {
  const before = new Set(taskIds());
  const own = (): string[] => taskIds().filter((id) => !before.has(id));
  const readTask = (id: string, file: string): string => {
    try {
      return readFileSync(`${TASKS}/${id}/${file}`, "utf8");
    } catch {
      // A thread may end between the listing and the reading.
      return "";
    }
  };
  // Time of threads that have ended stays in the sum, so that it never falls.
  const seen = new Map<string, number>();
  return {
    workers: () => {
      for (const id of own()) {
        const nanoseconds = Number(readTask(id, "schedstat").split(" ")[0]);
        if (nanoseconds > 0) seen.set(id, nanoseconds / 1e6);
      }
      let sum = 0;
      for (const ms of seen.values()) sum += ms;
      return sum;
    },
    threads: () => Math.max(1, own().filter((id) => readTask(id, "comm").startsWith("llvmpipe-")).length),
  };
}
