/** Exit codes, and how errors are told: one line for what this project throws on purpose, the stack for everything else. */
import { ReflError } from "@refl/tensor";
import { CommanderError } from "commander";
import type { Terminal } from "./terminal.ts";

/** The command line's exit codes. */
export const EXIT = {
  ok: 0,
  failedCheck: 1,
  badInput: 2,
  noGpu: 3,
  diverged: 4,
  interrupted: 130,
} as const;

/** Thrown when the user interrupted the work and it stopped cleanly. */
export class InterruptedError extends ReflError {
  constructor() {
    super("interrupted", "interrupted; the work up to the last finished step is kept", EXIT.interrupted);
  }
}

/** The code that the process ends with for an error. */
export function exitCodeOf(error: unknown): number {
  if (error instanceof ReflError) return error.exitCode;
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.badInput;
  if (error instanceof Error && error.name === "AbortError") return EXIT.interrupted;
  return EXIT.failedCheck;
}

/**
 * Tells an error on stderr, with `json` also as an event on stdout, and gives back the exit code. `debug` adds the stack to errors that
 * are told in one line.
 */
export function reportError(error: unknown, terminal: Terminal, options: { json: boolean; debug: boolean }): number {
  const exitCode = exitCodeOf(error);
  if (error instanceof CommanderError) {
    // Commander has written its own message already.
    if (options.json && exitCode !== 0) tellJson(terminal, error.code, error.message, exitCode);
    return exitCode;
  }
  const known = error instanceof ReflError || exitCode === EXIT.interrupted;
  const message = error instanceof Error ? error.message : String(error);
  if (options.json) tellJson(terminal, error instanceof ReflError ? error.code : "unknown", message, exitCode);
  const stack = error instanceof Error ? (error.stack ?? message) : message;
  if (!known) terminal.stderr(`error: ${stack}\n`);
  else {
    terminal.stderr(`error: ${message.replaceAll(/\s*\n\s*/g, "; ")}\n`);
    if (options.debug) terminal.stderr(`${stack}\n`);
  }
  return exitCode;
}

function tellJson(terminal: Terminal, code: string, message: string, exitCode: number): void {
  terminal.stdout(JSON.stringify({ type: "error", code, message, exitCode }) + "\n");
}
