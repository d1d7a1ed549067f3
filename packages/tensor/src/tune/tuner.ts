/** Picks among an op's kernels by what was measured on this device, and measures what is new to it. */
import { LimitError, OutOfMemoryError, TuneCacheWarning } from "../errors.ts";
import type { KernelChoice, KernelChooser } from "./chooser.ts";
import { choiceKey, kernelsFingerprint } from "./key.ts";
import type { TuneStore } from "./store.ts";
import { formatTable, parseTable, type TuneDevice, type TuneEntry, type TuneTable, tableName } from "./table.ts";

/**
 * `off`: every op takes its standard kernel, so that equal programs give equal bits. `cached`: an op takes what was measured before, and its standard
 * kernel where nothing was. `online`: what was not measured yet is measured at its first use, and taken from then on.
 */
export type TuneMode = "off" | "cached" | "online";

export const TUNE_MODES = ["off", "cached", "online"] as const satisfies readonly TuneMode[];

/**
 * Encodes each of `works` at once, several times, and resolves to the milliseconds of every time, in their order; null where nothing can be measured now.
 */
export type MeasureKernels = (works: readonly (() => void)[]) => Promise<readonly (readonly number[])[]> | null;

export interface TunerOptions {
  readonly mode: Exclude<TuneMode, "off">;
  readonly device: TuneDevice;
  readonly measure: MeasureKernels;
  /** Where the table is kept; null: only for this tuner's life. */
  readonly store: TuneStore | null;
  /** Told of a table that cannot be read or written. */
  readonly warn: (warning: TuneCacheWarning) => void;
}

/** A candidate takes the standard one's place only where it saves more than noise may: this share of its time. */
const MARGIN = 0.03;

/** Pages get timestamps in steps of so many milliseconds, and times of up to two steps may be none in truth. */
const STEP_MS = 0.065536;

const inSteps = (ms: number): boolean => Math.abs(ms / STEP_MS - Math.round(ms / STEP_MS)) < 1e-6;

export class Tuner implements KernelChooser {
  readonly mode: TunerOptions["mode"];
  readonly #options: TunerOptions;
  readonly #table: TuneTable;
  /** Keys being measured, or that could not be. */
  readonly #tried = new Set<string>();
  readonly #pending = new Set<Promise<void>>();
  #saving: Promise<void> = Promise.resolve();
  #measuring = false;
  #version = 0;

  /** Starts from `table`; {@link openTuner} reads it from the store. */
  constructor(options: TunerOptions, table: TuneTable = new Map()) {
    this.mode = options.mode;
    this.#options = options;
    this.#table = table;
  }

  /** What is known so far, by key. */
  get table(): ReadonlyMap<string, TuneEntry> {
    return this.#table;
  }

  get version(): number {
    return this.#version;
  }

  choose(choice: KernelChoice): string {
    const key = choiceKey(choice);
    const known = this.#known(key, choice);
    if (known !== null) return known;
    // What a candidate does inside is part of its time and has its own choices elsewhere.
    if (this.mode === "online" && choice.candidates.length > 1 && !this.#measuring && !this.#tried.has(key))
      this.#measure(key, choice);
    return choice.standard;
  }

  /** The answer of the table, if it is of these kernels and these operands can have it. */
  #known(key: string, { candidates, kernels }: KernelChoice): string | null {
    const entry = this.#table.get(key);
    if (!entry || entry.kernels !== kernelsFingerprint(kernels) || !candidates.includes(entry.choice)) return null;
    return entry.choice;
  }

  #measure(key: string, choice: KernelChoice): void {
    this.#measuring = true;
    try {
      const times = this.#options.measure(choice.candidates.map((name) => () => choice.run(name)));
      if (!times) return;
      this.#tried.add(key);
      const learning = this.#learn(key, choice, times).finally(() => this.#pending.delete(learning));
      this.#pending.add(learning);
    } catch (cause) {
      // Too large to be tried out is no reason to fail: the standard kernel needs less.
      if (!(cause instanceof OutOfMemoryError || cause instanceof LimitError)) throw cause;
      this.#tried.add(key);
    } finally {
      this.#measuring = false;
    }
  }

  async #learn(
    key: string,
    { candidates, standard, kernels }: KernelChoice,
    times: Promise<readonly (readonly number[])[]>,
  ): Promise<void> {
    let measured: readonly (readonly number[])[];
    try {
      measured = await times;
    } catch {
      // The device ended or failed, which whoever reads back next is told.
      return;
    }
    const ms: Record<string, number> = {};
    candidates.forEach((name, i) => {
      ms[name] = Math.min(...measured[i]!);
    });
    if (Object.values(ms).some((time) => !Number.isFinite(time))) return;
    const best = candidates.reduce((a, b) => (ms[b]! < ms[a]! ? b : a));
    const resolution = Object.values(ms).every(inSteps) ? 2 * STEP_MS : 0;
    const saved = ms[standard]! - ms[best]!;
    const choice = saved > Math.max(ms[standard]! * MARGIN, resolution) ? best : standard;
    this.#table.set(key, { choice, ms, kernels: kernelsFingerprint(kernels) });
    if (choice !== standard) this.#version++;
    this.#save();
  }

  #save(): void {
    const { store, device, warn } = this.#options;
    if (!store) return;
    const name = tableName(device);
    this.#saving = this.#saving.then(async () => {
      try {
        const text = await store.load(name);
        // Another process may have learnt something meanwhile.
        for (const [key, entry] of text === null ? [] : othersTable(text, device))
          if (!this.#table.has(key)) this.#table.set(key, entry);
        await store.save(name, formatTable(device, this.#table));
      } catch (cause) {
        warn(new TuneCacheWarning(store.place(name), "unwritable", messageOf(cause), { cause }));
      }
    });
  }

  /** Resolves when everything that was measured so far is in the table and kept. The device must be awaited by others: this only listens. */
  async settled(): Promise<void> {
    while (this.#pending.size) await Promise.all(this.#pending);
    await this.#saving;
  }

  /** A tuner with the answers of now, which measures and keeps nothing. */
  frozen(): Tuner {
    return new Tuner({ ...this.#options, mode: "cached", store: null }, new Map(this.#table));
  }
}

const messageOf = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause));

/** The entries of a kept table, none where it is no good: it was warned of when it was opened, and is about to be replaced. */
function othersTable(text: string, device: TuneDevice): TuneTable {
  try {
    return parseTable(text, device, "");
  } catch {
    return new Map();
  }
}

/** A tuner with the table that its store has. A table that cannot be used is told to `warn` and left aside. */
export async function openTuner(options: TunerOptions): Promise<Tuner> {
  const { store, device, warn } = options;
  if (!store) return new Tuner(options);
  const name = tableName(device);
  const place = store.place(name);
  let text: string | null = null;
  try {
    text = await store.load(name);
  } catch (cause) {
    warn(new TuneCacheWarning(place, "unreadable", messageOf(cause), { cause }));
  }
  if (text === null) return new Tuner(options);
  try {
    return new Tuner(options, parseTable(text, device, place));
  } catch (cause) {
    warn(cause as TuneCacheWarning);
    return new Tuner(options);
  }
}
