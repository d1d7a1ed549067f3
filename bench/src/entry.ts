/** An engine's entry to a row: its outputs checked against float64, in a limited time. */
import type { Engine, Program } from "./engines/engine.ts";
import { type reference, relativeError } from "./reference/reference.ts";
import type { RowSpec } from "./rows.ts";
import type { HostArray } from "./work.ts";

export interface Entry {
  readonly program: Program;
  /** Largest relative error over the outputs. */
  readonly error: number;
}

type Expected = ReturnType<typeof reference>;

/** Largest error over a work's outputs; throws where the engine leaves one out. */
export function worstError(expected: Expected, found: Readonly<Record<string, ArrayLike<number>>>): number {
  let worst = 0;
  for (const [name, sample] of Object.entries(expected)) {
    const values = found[name];
    if (!values) throw new Error(`gives no ${name}`);
    worst = Math.max(worst, relativeError(values, sample));
  }
  return worst;
}

async function enter(
  engine: Engine,
  { work, tolerance }: RowSpec,
  inputs: Record<string, HostArray>,
  expected: Expected,
): Promise<Entry | null> {
  const program = await engine.prepare(work, inputs);
  if (!program) return null;
  try {
    const error = worstError(expected, await program.read());
    if (!(error <= tolerance)) throw new Error(`wrong: relative error ${error.toExponential(1)}`);
    return { program, error };
  } catch (cause) {
    await program.dispose();
    throw cause;
  }
}

/** Lets engines in to rows; one that is late sits out until what it is at has ended, since engines take no second work meanwhile. */
export class Door {
  readonly #limitMs: number;
  /** The row that an engine is still at, by engine. */
  readonly #busy = new Map<string, string>();

  constructor(limitMs: number) {
    this.#limitMs = limitMs;
  }

  /** Null where the engine has no such function. Throws, with the note for the row, where it fails, is wrong, or late. */
  async enter(
    engine: Engine,
    spec: RowSpec,
    inputs: Record<string, HostArray>,
    expected: Expected,
  ): Promise<Entry | null> {
    const busy = this.#busy.get(engine.name);
    if (busy !== undefined) throw new Error(`still at ${busy}`);
    const entering = enter(engine, spec, inputs, expected);
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<"late">((resolve) => {
      timer = setTimeout(() => resolve("late"), this.#limitMs);
    });
    const entry = await Promise.race([entering, late]).finally(() => clearTimeout(timer));
    if (entry !== "late") return entry;
    this.#busy.set(engine.name, spec.name);
    const leave = (): void => void this.#busy.delete(engine.name);
    entering.then((found) => found?.program.dispose()).then(leave, leave);
    throw new Error(`no first result in ${this.#limitMs / 1000} s`);
  }
}
