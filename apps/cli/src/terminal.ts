/** What the command line needs of a terminal, so that tests can stand in for it. */
import process from "node:process";
import { EXIT } from "./exit.ts";

/** Output, clock and interrupts. */
export interface Terminal {
  /** Writes results: what another program may read. */
  stdout(text: string): void;
  /** Writes progress, warnings and errors. */
  stderr(text: string): void;
  /** Whether progress goes to a terminal that can redraw a line. */
  readonly interactive: boolean;
  /** Width of the terminal in characters. */
  readonly columns: number;
  readonly color: boolean;
  /** Milliseconds of a steady clock. */
  now(): number;
  /** Calls back at every Ctrl-C or request to end, until the returned function is called. */
  onInterrupt(callback: () => void): () => void;
  /** Ends the process at once. */
  exit(code: number): void;
}

/** The process's own terminal. */
export function processTerminal(): Terminal {
  // A reader that closes its pipe (`refl score … | head`) wants no more output: that is no error.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") process.exit(0);
    process.stderr.write(`error: the standard output cannot be written: ${error.message}\n`);
    process.exit(EXIT.badInput);
  });
  // Where messages go nobody can be told that they do not get there.
  process.stderr.on("error", () => {});
  const { NO_COLOR, TERM, CI } = process.env;
  const interactive = process.stderr.isTTY === true && TERM !== "dumb" && !CI;
  return {
    stdout: (text) => void process.stdout.write(text),
    stderr: (text) => void process.stderr.write(text),
    interactive,
    get columns() {
      return process.stderr.columns ?? 80;
    },
    color: interactive && !NO_COLOR,
    now: () => performance.now(),
    onInterrupt(callback) {
      process.on("SIGINT", callback);
      process.on("SIGTERM", callback);
      return () => {
        process.off("SIGINT", callback);
        process.off("SIGTERM", callback);
      };
    },
    exit: (code) => process.exit(code),
  };
}
