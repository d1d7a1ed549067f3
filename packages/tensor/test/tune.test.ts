/** The tuner without a device: keys, tables, stores, and what each mode answers by a clock of the test's own. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  bucket,
  choiceKey,
  FixedChooser,
  type KernelChoice,
  memoryTuneStore,
  type TuneCacheWarning,
  type TuneDevice,
  type TuneStore,
  webTuneStore,
} from "../src/index.ts";
import { fileTuneStore } from "../src/node.ts";
import { formatTable, parseTable, tableName } from "../src/tune/table.ts";
import { openTuner, type Tuner, type TunerOptions } from "../src/tune/tuner.ts";

const DEVICE: TuneDevice = {
  vendor: "mesa",
  architecture: "llvmpipe",
  device: "",
  description: "Mesa 25",
  subgroupSize: 8,
  f16: true,
};
const KERNELS = [{ source: "fast" }, { source: "slow" }];

/** A product that could take three kernels; `ran` collects those that ran. */
function choice(ran: string[] = [], overrides: Partial<KernelChoice> = {}): KernelChoice {
  return {
    op: "matmul",
    form: "f32 nn",
    sizes: { m: 100, n: 8, k: 3 },
    standard: "shared",
    candidates: ["naive", "register", "shared"],
    kernels: KERNELS,
    run: (name) => void ran.push(name),
    ...overrides,
  };
}

/** A device's clock by which kernel number i takes `times[i]` at its best. */
function clock(times: readonly number[]): { measure: TunerOptions["measure"]; calls: number } {
  const made = {
    calls: 0,
    measure: (works: readonly (() => void)[]) => {
      made.calls++;
      for (const work of works) work();
      return Promise.resolve(works.map((_, i) => [times[i]! * 3, times[i]!, times[i]! * 2]));
    },
  };
  return made;
}

const open = (options: Partial<TunerOptions> = {}): Promise<Tuner> =>
  openTuner({
    mode: "online",
    device: DEVICE,
    measure: clock([3, 1, 2]).measure,
    store: null,
    warn: (warning) => {
      throw warning;
    },
    ...options,
  });

describe("keys", () => {
  test("sizes of a bucket are less than half apart, and a bucket is its own", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 30 }), (size) => {
        const top = bucket(size);
        expect(top).toBeGreaterThanOrEqual(size);
        expect(top).toBeLessThanOrEqual(Math.max(size, 1.5 * size));
        expect(bucket(top)).toBe(top);
        expect(bucket(size + 1)).toBeGreaterThanOrEqual(top);
      }),
    );
    expect([1, 3, 5, 6, 7, 9, 100, 128, 129].map(bucket)).toEqual([1, 3, 6, 6, 8, 12, 128, 128, 192]);
  });

  test("op, form and buckets tell keys apart, nearby sizes do not", () => {
    const key = choiceKey(choice());
    expect(key).toBe("matmul f32 nn m128 n8 k3");
    expect(choiceKey(choice([], { sizes: { m: 128, n: 7, k: 3 } }))).toBe(key);
    expect(choiceKey(choice([], { sizes: { m: 129, n: 8, k: 3 } }))).not.toBe(key);
    expect(choiceKey(choice([], { form: "f16 nn" }))).not.toBe(key);
  });

  test("another adapter, driver or tier has another table", () => {
    const names = [{}, { vendor: "nvidia" }, { description: "Mesa 26" }, { subgroupSize: 0 }].map((part) =>
      tableName({ ...DEVICE, ...part }),
    );
    expect(new Set(names).size).toBe(4);
    expect(names[0]).toMatch(/^kernels-mesa-llvmpipe-[0-9a-f]{8}\.json$/);
  });
});

describe("answers", () => {
  test("online: the standard kernel until the measurement is there, the fastest from then on, and nothing is measured twice", async () => {
    const time = clock([3, 1, 2]);
    const tuner = await open({ measure: time.measure });
    const ran: string[] = [];
    expect(tuner.choose(choice(ran))).toBe("shared");
    expect(ran).toEqual(["naive", "register", "shared"]);
    expect(tuner.choose(choice(ran))).toBe("shared");
    await tuner.settled();
    expect(tuner.choose(choice(ran))).toBe("register");
    expect(tuner.version).toBe(1);
    expect(time.calls).toBe(1);
    expect(tuner.table.get(choiceKey(choice()))?.ms).toEqual({ naive: 3, register: 1, shared: 2 });
  });

  test("online: what is faster by less than noise leaves the standard kernel in place", async () => {
    const tuner = await open({ measure: clock([9, 0.98, 1]).measure });
    tuner.choose(choice());
    await tuner.settled();
    expect(tuner.choose(choice())).toBe("shared");
    expect(tuner.version).toBe(0);
  });

  test("online: in the coarse timestamps of pages, a step or two tell nothing", async () => {
    const step = 0.065536;
    for (const [times, expected] of [
      [[9 * step, 0, 2 * step], "shared"],
      [[9 * step, step, 9 * step], "register"],
    ] as const) {
      const tuner = await open({ measure: clock(times).measure });
      tuner.choose(choice());
      await tuner.settled();
      expect(tuner.choose(choice())).toBe(expected);
    }
  });

  test("online: a choice inside a candidate that is being timed takes its standard kernel unmeasured", async () => {
    const time = clock([3, 1, 2]);
    const tuner = await open({ measure: time.measure });
    const inner = choice([], { op: "inner", standard: "naive" });
    const answers: string[] = [];
    tuner.choose(choice([], { run: () => void answers.push(tuner.choose(inner)) }));
    expect(answers).toEqual(["naive", "naive", "naive"]);
    expect(time.calls).toBe(1);
  });

  test("online: where nothing can be measured now, the standard kernel, and a later try", async () => {
    let ready = false;
    const time = clock([3, 1, 2]);
    const tuner = await open({ measure: (works) => (ready ? time.measure(works) : null) });
    expect(tuner.choose(choice())).toBe("shared");
    ready = true;
    tuner.choose(choice());
    await tuner.settled();
    expect(tuner.choose(choice())).toBe("register");
  });

  test("cached: what was learnt, the standard kernel for all else, and no measurement", async () => {
    const store = memoryTuneStore();
    const learner = await open({ store });
    learner.choose(choice());
    await learner.settled();
    const time = clock([0, 0, 0]);
    const tuner = await open({ mode: "cached", store, measure: time.measure });
    expect(tuner.choose(choice())).toBe("register");
    expect(tuner.choose(choice([], { op: "conv2d" }))).toBe("shared");
    // Other texts, or operands that the kernel does not take.
    expect(tuner.choose(choice([], { kernels: [{ source: "new" }] }))).toBe("shared");
    expect(tuner.choose(choice([], { candidates: ["naive", "shared"] }))).toBe("shared");
    expect(time.calls).toBe(0);
    expect(tuner.version).toBe(0);
  });

  test("frozen: the answers of now, without measuring", async () => {
    const time = clock([3, 1, 2]);
    const tuner = await open({ measure: time.measure });
    tuner.choose(choice());
    await tuner.settled();
    const frozen = tuner.frozen();
    expect(frozen.choose(choice())).toBe("register");
    expect(frozen.choose(choice([], { op: "conv2d" }))).toBe("shared");
    expect(time.calls).toBe(1);
  });

  test("fixed: the named kernel, and a refusal where it does not fit", () => {
    const chooser = new FixedChooser({ matmul: "naive" });
    expect(chooser.choose(choice())).toBe("naive");
    expect(chooser.choose(choice([], { op: "conv2d" }))).toBe("shared");
    expect(() => chooser.choose(choice([], { candidates: ["shared"] }))).toThrow(
      'matmul: the kernel "naive" does not take f32 nn with {"m":100,"n":8,"k":3} on this device; shared do',
    );
  });
});

describe("stores", () => {
  let folder = "";
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "refl-tune-"));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  const items = new Map<string, string>();
  const page = {
    getItem: (name: string) => items.get(name) ?? null,
    setItem: (name: string, text: string) => void items.set(name, text),
  };
  const stores: Record<string, () => TuneStore> = {
    file: () => fileTuneStore(join(folder, "deep", "er")),
    web: () => webTuneStore(page),
    memory: memoryTuneStore,
  };
  test.for(Object.keys(stores))("%s: keeps what was learnt, and adds to what others kept", async (kind) => {
    const store = stores[kind]!();
    const [a, b] = [await open({ store }), await open({ store })];
    a.choose(choice());
    await a.settled();
    b.choose(choice([], { op: "conv2d" }));
    await b.settled();
    const next = await open({ mode: "cached", store });
    expect([...next.table.keys()]).toEqual([choiceKey(choice([], { op: "conv2d" })), choiceKey(choice())]);
    expect(next.choose(choice())).toBe("register");
  });

  test("file: no part of a table is left beside it", async () => {
    const tuner = await open({ store: fileTuneStore(folder) });
    tuner.choose(choice());
    await tuner.settled();
    expect(readdirSync(folder)).toEqual([tableName(DEVICE)]);
    const text = readFileSync(join(folder, tableName(DEVICE)), "utf8");
    expect(formatTable(DEVICE, parseTable(text, DEVICE, ""))).toBe(text);
  });

  const good = formatTable(DEVICE, new Map());
  const damaged = good.replace('"entries": {}', '"entries": {"a": {"choice": 3}}');
  test.for([
    ["corrupt", "", "no JSON"],
    ["corrupt", good.slice(0, -9), "no JSON"],
    ["corrupt", damaged, 'entry "a" is damaged'],
    ["foreign", "[]", "no table"],
    ["foreign", '{"format": "other"}', "no table"],
    ["foreign", good.replace('"version": 1', '"version": 2'), "version 2"],
    ["foreign", good.replace("Mesa 25", "Mesa 26"), 'description is "Mesa 26"'],
  ] as const)(
    "a %s table is warned of, left aside, and replaced by what is learnt: %s",
    async ([reason, text, words]) => {
      const place = join(folder, tableName(DEVICE));
      writeFileSync(place, text);
      const warnings: TuneCacheWarning[] = [];
      const tuner = await open({ store: fileTuneStore(folder), warn: (w) => void warnings.push(w) });
      expect(warnings).toMatchObject([{ name: "TuneCacheWarning", code: "tune-cache", reason, place }]);
      expect(warnings[0]!.message).toContain(words);
      expect(readFileSync(place, "utf8")).toBe(text);
      tuner.choose(choice());
      await tuner.settled();
      expect(parseTable(readFileSync(place, "utf8"), DEVICE, place).size).toBe(1);
      expect(warnings).toHaveLength(1);
    },
  );

  test("a store that fails is warned of and changes no answer", async () => {
    const broken: TuneStore = {
      place: (name) => name,
      load: () => Promise.reject(new Error("no right")),
      save: () => Promise.reject(new Error("full")),
    };
    const warnings: TuneCacheWarning[] = [];
    const tuner = await open({ store: broken, warn: (w) => void warnings.push(w) });
    tuner.choose(choice());
    await tuner.settled();
    expect(tuner.choose(choice())).toBe("register");
    expect(warnings.map((w) => w.reason)).toEqual(["unreadable", "unwritable"]);
  });
});
