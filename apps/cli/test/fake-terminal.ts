/** A terminal that records what is written, with a clock and interrupts under the test's control. */
import type { Terminal } from "../src/terminal.ts";

/** The terminal and what it has seen. */
export interface FakeTerminal extends Terminal {
  out: string;
  err: string;
  time: number;
  exits: number[];
  interrupt(): void;
}

/** A terminal of 100 columns without colours; not interactive unless asked for. */
export function fakeTerminal(options: { interactive?: boolean; columns?: number } = {}): FakeTerminal {
  const listeners = new Set<() => void>();
  const terminal: FakeTerminal = {
    out: "",
    err: "",
    time: 0,
    exits: [],
    interactive: options.interactive ?? false,
    columns: options.columns ?? 100,
    color: false,
    stdout: (text) => {
      terminal.out += text;
    },
    stderr: (text) => {
      terminal.err += text;
    },
    now: () => terminal.time,
    onInterrupt(callback) {
      listeners.add(callback);
      return () => listeners.delete(callback);
    },
    exit: (code) => terminal.exits.push(code),
    interrupt: () => {
      for (const listener of [...listeners]) listener();
    },
  };
  return terminal;
}
