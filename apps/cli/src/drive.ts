/** Runs a command's work: draws its events, and turns Ctrl-C into an abort signal, the second one into an end at once. */
import type { Run } from "@refl/refl";
import { EXIT, InterruptedError } from "./exit.ts";
import { createRenderer } from "./render/renderer.ts";
import type { Terminal } from "./terminal.ts";

/** What every command gets besides its own arguments. */
export interface CommandContext {
  readonly terminal: Terminal;
  readonly json: boolean;
}

/**
 * Draws the events of `work` until it ends and gives back its result. Throws `InterruptedError` when the user stopped it: the first Ctrl-C
 * sets the signal and lets the work finish its step and save, the second ends the process with 130.
 */
export async function drive<Result>(
  context: CommandContext,
  work: (signal: AbortSignal) => Run<Result>,
): Promise<Result> {
  const { terminal, json } = context;
  const controller = new AbortController();
  const renderer = createRenderer(terminal, json);
  const release = terminal.onInterrupt(() => {
    if (controller.signal.aborted) {
      renderer.close();
      terminal.exit(EXIT.interrupted);
      return;
    }
    renderer.event({
      type: "warning",
      message: "interrupted: finishing the step and saving; press Ctrl-C again to stop at once",
    });
    controller.abort();
  });
  try {
    const run = work(controller.signal);
    for (;;) {
      const next = await run.next();
      if (next.done) {
        if (controller.signal.aborted) throw new InterruptedError();
        return next.value;
      }
      renderer.event(next.value);
    }
  } catch (cause) {
    if (controller.signal.aborted && cause instanceof Error && cause.name === "AbortError")
      throw new InterruptedError();
    throw cause;
  } finally {
    release();
    renderer.close();
  }
}
