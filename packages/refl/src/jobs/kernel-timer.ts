/** How long work would take: its own kernels are timed on the adapter, over scratch memory in the place of its tensors. */
import type { Device, KernelUse, Storage, Work } from "@refl/tensor";
import { type Rates, secondsOf, secondsPerRun } from "./rates.ts";

/** Share of the work whose kernels are timed one by one; the others are timed together. */
const ONE_BY_ONE = 0.8;

/** Dispatches of a round of the kernels that are timed together. */
const TOGETHER = 2000;

/** Bytes of scratch memory at most: kernels over more are told from the rates. */
const MOST_SCRATCH = 2 ** 31;

/** Follow a chain in their operands, which in scratch memory need not end. */
const ENDLESS: ReadonlySet<string> = new Set(["embedding_scatter", "embedding_scatter_wide"]);

interface Counted {
  readonly use: KernelUse;
  readonly count: number;
  /** Seconds by the rates. */
  readonly told: number;
}

const sum = (list: readonly Counted[]): number => list.reduce((total, { told }) => total + told, 0);

/** Times work on a device; the scratch memory is as large as the largest operands in each place, and goes with `dispose`. */
export class KernelTimer {
  readonly #device: Device;
  readonly #rates: Rates;
  readonly #known = new Map<KernelUse, number>();
  readonly #scratch: Storage[] = [];
  readonly #end: number;

  /** After `seconds` what is left is told from the rates and from how far off these were so far. */
  constructor(device: Device, rates: Rates, seconds: number) {
    this.#device = device;
    this.#rates = rates;
    this.#end = performance.now() + 1000 * seconds;
  }

  /** Seconds that the device takes for `work`, each kernel after the other. */
  async seconds(work: Work): Promise<number> {
    const uses = [...work].map(([use, count]): Counted => ({ use, count, told: count * secondsOf(use, this.#rates) }));
    uses.sort((a, b) => b.told - a.told);
    const all = sum(uses);
    const rest: Counted[] = [];
    let told = 0;
    let measured = 0;
    for (const counted of uses) {
      const { use, count } = counted;
      if (told >= ONE_BY_ONE * all || this.#isLate || !this.#fits(use)) {
        rest.push(counted);
        continue;
      }
      told += counted.told;
      measured += count * (await this.#timeOf(use));
    }
    const ratio = told ? measured / told : 1;
    return measured + (await this.#together(rest, ratio));
  }

  get #isLate(): boolean {
    return performance.now() > this.#end;
  }

  async #timeOf(use: KernelUse): Promise<number> {
    let seconds = this.#known.get(use);
    if (seconds === undefined) {
      seconds = await secondsPerRun(this.#device, () => this.#run(use));
      this.#known.set(use, seconds);
    }
    return seconds;
  }

  /** Seconds of kernels that are run one after the other, each in its share of a round. */
  async #together(uses: readonly Counted[], ratio: number): Promise<number> {
    const fitting = uses.filter(({ use }) => this.#fits(use));
    const beyond = ratio * sum(uses.filter(({ use }) => !this.#fits(use)));
    const dispatches = fitting.reduce((total, { count }) => total + count, 0);
    const scale = Math.min(1, TOGETHER / Math.max(1, dispatches));
    const round = fitting.map(({ use, count, told }) => {
      const times = Math.max(1, Math.round(count * scale));
      return { use, times, told: (told * times) / count };
    });
    const toldOfRound = round.reduce((total, { told }) => total + told, 0);
    const left = (this.#end - performance.now()) / 1000;
    if (!round.length || 4 * ratio * toldOfRound > left) return beyond + ratio * sum(fitting);
    const seconds = await secondsPerRun(this.#device, () => {
      for (const { use, times } of round) for (let i = 0; i < times; i++) this.#run(use);
    });
    return beyond + (seconds * sum(fitting)) / toldOfRound;
  }

  #fits({ kernel, operands }: KernelUse): boolean {
    if (kernel && ENDLESS.has(kernel.name)) return false;
    const most = operands.map((bytes, i) => Math.max(bytes, this.#scratch[i]?.bytes ?? 0));
    return most.reduce((total, bytes) => total + bytes, 0) <= MOST_SCRATCH;
  }

  #run({ kernel, defines, params, grid, operands }: KernelUse): void {
    const storages = operands.map((bytes, i) => this.#scratchAt(i, bytes));
    if (kernel) this.#device.run(kernel, defines, storages, params, grid);
    else this.#device.copy(storages[0]!, 0, storages[1]!, 0, operands[0]!);
  }

  #scratchAt(place: number, bytes: number): Storage {
    const before = this.#scratch[place];
    if (before && before.bytes >= bytes) return before;
    const storage = this.#device.allocate(bytes, "scratch");
    before?.release();
    this.#scratch[place] = storage;
    return storage;
  }

  /** Gives the scratch memory back. */
  dispose(): void {
    for (const storage of this.#scratch) storage.release();
    this.#scratch.length = 0;
  }
}
