/** What hosts that Node only drives ask of the process that started them. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { remoteClock } from "../src/clock.ts";
import { serveRun } from "../src/serve.node.ts";
import { threadClock, watchDriverThreads } from "../src/threads.node.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "bench-serve-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

it("serves the folder's files and nothing beside it, the driver's time, and takes results", async () => {
  mkdirSync(join(folder, "served", "peers"), { recursive: true });
  writeFileSync(join(folder, "secret"), "s");
  writeFileSync(join(folder, "served", "peers", "a.mjs"), "export {};");
  const results: unknown[] = [];
  let started = 0;
  const { server, base } = await serveRun({
    folder: join(folder, "served"),
    clock: async () => {
      started++;
      return { workers: () => 12.5, threads: () => 2 };
    },
    onResult: (result) => void results.push(result),
  });
  try {
    expect(await (await fetch(base)).text()).toContain("<title>");
    const module = await fetch(`${base}peers/a.mjs`);
    expect(module.headers.get("content-type")).toBe("text/javascript");
    expect(await module.text()).toBe("export {};");
    for (const path of ["peers", "none.mjs", "..%2fsecret", "%2e%2e/secret", "../secret"])
      expect((await fetch(base + path)).status).toBe(404);
    expect(started).toBe(0);
    for (let i = 0; i < 2; i++) expect(await (await fetch(`${base}driver`)).json()).toEqual({ ms: 12.5, threads: 2 });
    expect(started).toBe(1);
    expect((await fetch(`${base}result`, { method: "POST", body: '{"rows":[]}' })).status).toBe(204);
    expect((await fetch(`${base}result`, { method: "POST", body: "{" })).status).toBe(500);
    expect(results).toEqual([{ rows: [] }]);
  } finally {
    server.close();
    server.closeAllConnections();
  }
});

it("asks for CPU time on software adapters that have such a clock, and for none elsewhere", async () => {
  const times = [1, 4].map((ms) => ({ ms, threads: 2 }));
  const clock = await remoteClock(async () => times.shift() ?? null, true);
  expect(clock.threads).toBe(2);
  expect(await clock.workers!()).toBe(4);
  await expect(clock.workers!()).rejects.toThrow(/is gone/);
  expect((await remoteClock(async () => null, true)).workers).toBeNull();
  const gpu = await remoteClock(() => Promise.reject(new Error("asked")), false);
  expect(gpu).toMatchObject({ workers: null, threads: 1 });
});

it("adds up the driver's threads, and keeps the time of those that have ended", () => {
  const task = (id: number, name: string, nanoseconds: number): void => {
    const at = join(folder, "7", "task", String(id));
    mkdirSync(at, { recursive: true });
    writeFileSync(join(at, "comm"), `${name}\n`);
    writeFileSync(join(at, "schedstat"), `${nanoseconds} 5 6\n`);
  };
  task(7, "chromium", 9e9);
  task(8, "Thread<00>", 2e6);
  task(9, "Thread<01>", 3e6);
  const clock = threadClock((id) => id !== "7", 7, folder);
  expect(clock.workers()).toBe(5);
  expect(clock.threads()).toBeGreaterThanOrEqual(1);
  rmSync(join(folder, "7", "task", "9"), { recursive: true });
  task(8, "Thread<00>", 6e6);
  expect(clock.workers()).toBe(9);
  expect(threadClock(() => true, 1, join(folder, "none")).workers()).toBe(0);
});

it("counts no thread that was there before", () => {
  const clock = watchDriverThreads();
  expect(clock.threads()).toBe(1);
  expect(clock.workers()).toBeLessThan(1000);
});
