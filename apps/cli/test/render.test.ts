/** What events look like: progress line, plain lines and JSON; rates and times left. */
import type { RunEvent, StepEvent } from "@refl/refl";
import { describe, expect, it } from "vitest";
import { ProgressMeter } from "../src/render/progress.ts";
import { createRenderer } from "../src/render/renderer.ts";
import { fakeTerminal } from "./fake-terminal.ts";

const step = (n: number, total: number, metrics: Record<string, number> = {}): StepEvent => ({
  type: "step",
  stage: "refl",
  step: n,
  total,
  metrics,
});

const grid: RunEvent = {
  type: "samples",
  stage: "refl",
  step: 10,
  grid: { width: 1, height: 1, rgb: Uint8Array.of(1, 2, 3), columns: 1, captions: ["a dot"] },
};

describe("ProgressMeter", () => {
  it("leaves slow first steps out of the rate and the time left", () => {
    const meter = new ProgressMeter(0);
    expect(meter.step(step(1, 12), 30_000)).toMatchObject({ rate: undefined, eta: undefined, elapsed: 30 });
    expect(meter.step(step(2, 12), 60_000).rate).toBeUndefined();
    expect(meter.step(step(3, 12), 60_500)).toMatchObject({ rate: 2, eta: 4.5 });
    expect(meter.step(step(4, 12), 61_000)).toMatchObject({ rate: 2, eta: 4 });
  });

  it("follows a change of pace, and a resumed run's step numbers", () => {
    const meter = new ProgressMeter(0);
    let now = 0;
    for (let n = 101; n <= 120; n++) meter.step(step(n, 200), (now += 1000));
    for (let n = 121; n < 160; n++) meter.step(step(n, 200), (now += 100));
    const state = meter.step(step(160, 200), now + 100);
    expect(state.rate).toBeCloseTo(10);
    expect(state.eta).toBeCloseTo(4);
  });

  it("counts steps by their numbers, and begins anew where they do", () => {
    const meter = new ProgressMeter(0);
    meter.step(step(64, 256), 1000);
    meter.step(step(128, 256), 2000);
    expect(meter.step(step(192, 256), 3000)).toMatchObject({ rate: 64, eta: 1 });
    expect(meter.step(step(64, 256), 5000).rate).toBeUndefined();
    expect(meter.step(step(128, 256), 7000)).toMatchObject({ rate: 32, eta: 4 });
  });

  it("smooths the loss without the bias of its start", () => {
    const meter = new ProgressMeter(0);
    expect(meter.step(step(1, 9, { loss: 4 }), 0).loss).toBeCloseTo(4);
    const second = meter.step(step(2, 9, { loss: 2 }), 0).loss!;
    expect(second).toBeGreaterThan(2.9);
    expect(second).toBeLessThan(3);
    expect(new ProgressMeter(0).step(step(1, 9), 0).loss).toBeUndefined();
  });
});

describe("plain lines", () => {
  it("come at the first step, at most every five seconds, and at the last step", () => {
    const terminal = fakeTerminal();
    const renderer = createRenderer(terminal, false);
    renderer.event({ type: "stage", stage: "compile" });
    terminal.time = 900;
    renderer.event({ type: "stage-end", stage: "compile", seconds: 0.9 });
    renderer.event({ type: "stage", stage: "refl", message: "50 steps" });
    for (let n = 1; n <= 50; n++) {
      terminal.time += 200;
      renderer.event(step(n, 50, { loss: 0.5, lr: 2e-5, reward: n / 50, memoryBytes: 3 * 2 ** 20 }));
    }
    renderer.event({ type: "checkpoint", path: "runs/demo-1/checkpoints/step-000050" });
    renderer.event(grid);
    renderer.event({ type: "stage-end", stage: "refl", seconds: 10 });
    renderer.close();
    expect(terminal.out).toBe("");
    expect(terminal.err.split("\n")).toEqual([
      "• compile shaders",
      "✓ compile shaders 0.90 s",
      "• ReFL: 50 steps",
      "  ReFL 1/50  loss 0.500  reward 0.020  lr 2.0e-5  3.0 MiB  0:00 elapsed",
      "  ReFL 26/50  5.00 it/s  loss 0.500  reward 0.520  lr 2.0e-5  3.0 MiB  0:05 elapsed  0:05 left",
      "  ReFL 50/50  5.00 it/s  loss 0.500  reward 1  lr 2.0e-5  3.0 MiB  0:10 elapsed  0:00 left",
      "  saved runs/demo-1/checkpoints/step-000050",
      "✓ ReFL 10.0 s",
      "",
    ]);
    expect(terminal.err).not.toContain("\r");
  });

  it("keep tables on stdout and everything else on stderr", () => {
    const terminal = fakeTerminal();
    const renderer = createRenderer(terminal, false);
    renderer.event({ type: "note", message: "hello" });
    renderer.event({ type: "warning", message: "careful" });
    renderer.event({ type: "table", title: "Result", header: ["arm", "score"], rows: [["base", 0.5]] });
    renderer.event({ type: "result", summary: {} });
    expect(terminal.err).toBe("hello\nwarning: careful\n");
    expect(terminal.out).toBe("\nResult\n\narm   score\n────  ─────\nbase  0.500\n\n");
  });
});

describe("the progress line", () => {
  it("is redrawn in place, at most ten times a second, and replaced by other output", () => {
    const terminal = fakeTerminal({ interactive: true });
    const renderer = createRenderer(terminal, false);
    renderer.event({ type: "stage", stage: "refl" });
    for (let n = 1; n <= 100; n++) {
      terminal.time += 10;
      renderer.event(step(n, 100, { loss: 1 }));
    }
    expect(terminal.err.match(/\r/g)).toHaveLength(12);
    expect(terminal.err).not.toContain("\n");
    renderer.event({ type: "note", message: "done" });
    expect(terminal.err.endsWith("\r\u001b[2Kdone\n")).toBe(true);
  });

  it("never wraps, and leaves the cursor on a new line", () => {
    const terminal = fakeTerminal({ interactive: true, columns: 40 });
    const renderer = createRenderer(terminal, false);
    renderer.event(step(1, 2, { loss: 1, reward: 2, judge: 3, lr: 1 }));
    renderer.close();
    const lines = terminal.err.replaceAll("\u001b[2K", "").split(/[\r\n]/);
    for (const line of lines) expect(line.length).toBeLessThan(40);
    expect(terminal.err.endsWith("\n")).toBe(true);
  });
});

it("prints one JSON event per line, without pixels", () => {
  const terminal = fakeTerminal();
  const renderer = createRenderer(terminal, true);
  const events: RunEvent[] = [
    { type: "stage", stage: "refl", message: "x" },
    step(1, 2, { loss: 0.5 }),
    grid,
    { type: "result", summary: { ok: true } },
  ];
  for (const event of events) renderer.event(event);
  renderer.close();
  expect(terminal.err).toBe("");
  const lines = terminal.out.trimEnd().split("\n");
  expect(lines.map((line) => JSON.parse(line))).toEqual([
    events[0],
    events[1],
    { type: "samples", stage: "refl", step: 10, grid: { width: 1, height: 1, columns: 1, captions: ["a dot"] } },
    events[3],
  ]);
});
