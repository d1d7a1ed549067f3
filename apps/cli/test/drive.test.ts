/** Driving work: results, Ctrl-C once and twice, errors, and exit codes. */
import type { Run } from "@refl/refl";
import { DataError, DivergedError, NoAdapterError } from "@refl/tensor";
import { CommanderError } from "commander";
import { describe, expect, it } from "vitest";
import { drive } from "../src/drive.ts";
import { exitCodeOf, InterruptedError, reportError } from "../src/exit.ts";
import { fakeTerminal } from "./fake-terminal.ts";

async function* count(signal: AbortSignal, onStep: (step: number) => void): Run<number> {
  let step = 0;
  while (step < 5 && !signal.aborted) {
    step++;
    onStep(step);
    yield { type: "step", stage: "refl", step, total: 5, metrics: {} };
  }
  yield { type: "checkpoint", path: `step-${step}` };
  return step;
}

describe("drive", () => {
  it("draws events and gives back the result", async () => {
    const terminal = fakeTerminal();
    expect(await drive({ terminal, json: true }, (signal) => count(signal, () => {}))).toBe(5);
    expect(terminal.out.trimEnd().split("\n")).toHaveLength(6);
  });

  it("lets the work finish its step and save at the first Ctrl-C", async () => {
    const terminal = fakeTerminal();
    const work = drive({ terminal, json: true }, (signal) =>
      count(signal, (step) => step === 2 && terminal.interrupt()),
    );
    const error = await work.catch((e: unknown) => e);
    expect(error).toBeInstanceOf(InterruptedError);
    expect(exitCodeOf(error)).toBe(130);
    expect(terminal.out).toContain('"path":"step-2"');
    expect(terminal.exits).toEqual([]);
  });

  it("ends at once at the second Ctrl-C, and listens no more afterwards", async () => {
    const terminal = fakeTerminal();
    const twice = (step: number) => {
      if (step !== 2) return;
      terminal.interrupt();
      terminal.interrupt();
    };
    await drive({ terminal, json: false }, (signal) => count(signal, twice)).catch(() => {});
    expect(terminal.exits).toEqual([130]);
    terminal.interrupt();
    expect(terminal.exits).toEqual([130]);
  });

  it("takes an AbortError after Ctrl-C as an interruption, and passes other errors on", async () => {
    const terminal = fakeTerminal();
    // biome-ignore lint/correctness/useYield: the work fails before its first event.
    async function* failing(error: Error, interrupt: boolean): Run<void> {
      if (interrupt) terminal.interrupt();
      throw error;
    }
    const abort = new DOMException("stop", "AbortError");
    await expect(drive({ terminal, json: false }, () => failing(abort, true))).rejects.toThrow(InterruptedError);
    await expect(drive({ terminal, json: false }, () => failing(new DivergedError("x", 3), true))).rejects.toThrow(
      DivergedError,
    );
  });
});

describe("reportError", () => {
  const report = (error: unknown, options: { json?: boolean; debug?: boolean } = {}) => {
    const terminal = fakeTerminal();
    const code = reportError(error, terminal, { json: options.json ?? false, debug: options.debug ?? false });
    return { code, ...terminal };
  };

  it("tells a typed error in one line and ends with its code", () => {
    const input = report(new DataError("a.yaml", 3, "steps", "unfit\n  because"));
    expect(input).toMatchObject({ code: 2, out: "", err: "error: a.yaml:3: steps: unfit; because\n" });
    expect(report(new NoAdapterError("install a driver")).code).toBe(3);
    expect(report(new DivergedError("conv_in.weight", 7))).toMatchObject({
      code: 4,
      err: expect.stringMatching(/^error: step 7: conv_in\.weight.*\n$/),
    });
    expect(report(new CommanderError(1, "commander.unknownOption", "error: unknown option")).code).toBe(2);
    expect(report(new CommanderError(0, "commander.help", "")).code).toBe(0);
  });

  it("adds the stack with --debug, and always for errors that nobody expected", () => {
    expect(report(new DataError("a", 1, "", "x"), { debug: true }).err).toMatch(/\n {4}at /);
    const unexpected = report(new TypeError("x is undefined"));
    expect(unexpected.code).toBe(1);
    expect(unexpected.err).toMatch(/TypeError: x is undefined\n {4}at /);
    expect(report("text").err).toBe("error: text\n");
  });

  it("is an event too with --json", () => {
    const { out } = report(new DataError("a.yaml", 3, "steps", "unfit"), { json: true });
    expect(JSON.parse(out)).toEqual({ type: "error", code: "data", message: "a.yaml:3: steps: unfit", exitCode: 2 });
  });
});
