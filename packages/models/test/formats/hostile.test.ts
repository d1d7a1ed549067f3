/** Checkpoints that lie: cut short, overlapping, bombs, foreign pickles, values without end. Typed errors, bounded memory, nothing run. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { bytesSource, openCheckpoint } from "@refl/models";
import { CheckpointError } from "@refl/tensor";
import fc from "fast-check";
import { deflateSync } from "fflate";
import { describe, expect, it } from "vitest";
import { READERS, runCase, seedFiles } from "../fuzz/readers.ts";

const GOLDEN = fileURLToPath(new URL("../golden/checkpoints/", import.meta.url));
const golden = (name: string) => new Uint8Array(readFileSync(GOLDEN + name));

async function readAll(bytes: Uint8Array, options = {}): Promise<number> {
  let total = 0;
  for await (const entry of (await openCheckpoint(bytesSource(bytes, "model.pt"), options)).entries()) {
    total += entry.bytes.length;
  }
  return total;
}

async function refusal(bytes: Uint8Array): Promise<string> {
  const error: unknown = await readAll(bytes).catch((cause: unknown) => cause);
  expect(error).toBeInstanceOf(CheckpointError);
  expect((error as CheckpointError).file).toContain("model.pt");
  return (error as Error).message;
}

interface Entry {
  readonly name: string;
  readonly data: Uint8Array;
  readonly deflate?: boolean;
  /** What the directory says of the uncompressed size, in place of the truth. */
  readonly size?: number;
  /** Where the directory says it begins, in place of the truth. */
  readonly offset?: number;
  readonly flags?: number;
  readonly method?: number;
}

/** A zip archive, with lies where entries ask for them. */
function zip(entries: readonly Entry[]): Uint8Array {
  const parts: Uint8Array[] = [];
  const directory: Uint8Array[] = [];
  let at = 0;
  const push = (to: Uint8Array[], ...pieces: Uint8Array[]) => to.push(...pieces);
  for (const { name, data, deflate = false, size = data.length, offset, flags = 0, method } of entries) {
    const stored = deflate ? deflateSync(data) : data;
    const label = new TextEncoder().encode(name);
    const common = (view: DataView, from: number) => {
      view.setUint16(from, flags, true);
      view.setUint16(from + 2, method ?? (deflate ? 8 : 0), true);
      view.setUint32(from + 12, stored.length, true);
      view.setUint32(from + 16, size, true);
      view.setUint16(from + 20, label.length, true);
    };
    const local = new DataView(new ArrayBuffer(30));
    local.setUint32(0, 0x04034b50, true);
    common(local, 6);
    const central = new DataView(new ArrayBuffer(46));
    central.setUint32(0, 0x02014b50, true);
    common(central, 8);
    central.setUint32(42, offset ?? at, true);
    push(directory, new Uint8Array(central.buffer), label);
    push(parts, new Uint8Array(local.buffer), label, stored);
    at += 30 + label.length + stored.length;
  }
  const bytes = directory.reduce((sum, part) => sum + part.length, 0);
  const end = new DataView(new ArrayBuffer(22));
  end.setUint32(0, 0x06054b50, true);
  end.setUint16(8, entries.length, true);
  end.setUint16(10, entries.length, true);
  end.setUint32(12, bytes, true);
  end.setUint32(16, at, true);
  return Uint8Array.from([...parts, ...directory, new Uint8Array(end.buffer)].flatMap((part) => [...part]));
}

const ascii = (text: string): Uint8Array => Uint8Array.from(text, (character) => character.charCodeAt(0));
const u32 = (value: number): string =>
  String.fromCharCode(value & 255, (value >> 8) & 255, (value >> 16) & 255, value >>> 24);
const unicode = (text: string): string => `X${u32(text.length)}${text}`;
const count = (value: number): string => `J${u32(value)}`;
/** The opcodes of a float32 tensor. */
const tensor = (
  key: string,
  storage: number,
  shape: readonly number[],
  strides: readonly number[],
  offset = 0,
): string => {
  const id = `(${unicode("storage")}ctorch\nFloatStorage\n${unicode(key)}${unicode("cpu")}${count(storage)}tQ`;
  const sizes = `(${shape.map(count).join("")}t(${strides.map(count).join("")}t`;
  return `ctorch._utils\n_rebuild_tensor_v2\n(${id}${count(offset)}${sizes}\x89NtR`;
};
const dict = (...items: readonly [string, string][]): string =>
  `\x80\x02}(${items.map(([key, value]) => unicode(key) + value).join("")}u.`;
const pickle = (text: string, ...entries: readonly Entry[]): Uint8Array =>
  zip([{ name: "a/data.pkl", data: ascii(text) }, ...entries]);
const data = (bytes: number, more: Partial<Entry> = {}): Entry => ({
  name: "a/data/0",
  data: new Uint8Array(bytes),
  ...more,
});

describe("the hand-made files", () => {
  it("are read where they do not lie", async () => {
    expect(await readAll(pickle(dict(["w", tensor("0", 6, [2, 3], [3, 1])]), data(24)))).toBe(24);
    expect(await readAll(pickle(dict(["w", tensor("0", 6, [3], [1])]), data(24, { deflate: true })))).toBe(12);
  });
});

it.each(["types.pt", "deflated.pt", "zip64.pt", "legacy_views.pth", "types.safetensors", "script.pt"])(
  "%s cut anywhere is refused",
  async (name) => {
    const bytes = golden(name);
    const ends = 192;
    for (let length = 0; length < bytes.length; length += length < ends || bytes.length - length < ends ? 1 : 5) {
      const error: unknown = await readAll(bytes.subarray(0, length)).then(
        () => `${length} of ${bytes.length} bytes were taken for whole`,
        (cause: unknown) => cause,
      );
      if (!(error instanceof CheckpointError)) expect.fail(`${length} bytes: ${String(error)}`);
    }
  },
  60_000,
);

describe("tensors", () => {
  it.each([
    ["beyond the storage", tensor("0", 6, [7], [1]), /reaches beyond its storage of 24 bytes/],
    ["with an offset beyond it", tensor("0", 6, [3], [1], 4), /reaches beyond/],
    ["with a negative offset", tensor("0", 6, [3], [1], -1), /offset is no non-negative/],
    ["with negative strides", tensor("0", 6, [3], [-1], 5), /stride is no tuple of non-negative/],
    [
      "of sizes whose product overflows",
      tensor("0", 6, [2 ** 31 - 1, 2 ** 31 - 1, 2 ** 31 - 1], [0, 0, 0]),
      /too large/,
    ],
    ["that repeat their storage a billion times", tensor("0", 6, [2 ** 30], [0]), /repeats its storage/],
    ["with fewer strides than sizes", tensor("0", 6, [2, 3], [1]), /strides/],
    ["of a storage that is not there", tensor("1", 6, [2], [1]), /no data for storage "1"/],
    ["of a storage of another size", tensor("0", 7, [2], [1]), /needs 28 bytes, its data has 24/],
  ])("%s", async (_, value, message) => {
    expect(await refusal(pickle(dict(["w", value]), data(24)))).toMatch(message);
  });
});

describe("pickles", () => {
  it.each([
    "os.system",
    "posix.system",
    "builtins.eval",
    "__builtin__.exec",
    "subprocess.Popen",
    "torch.load",
    "torch._utils._rebuild_qtensor",
    "collections.Counter",
    "numpy.load",
    "runpy.run_path",
  ])("that ask for %s", async (name) => {
    const [module, attribute] = [name.slice(0, name.lastIndexOf(".")), name.slice(name.lastIndexOf(".") + 1)];
    for (const global of [`c${module}\n${attribute}\n`, `${unicode(module)}${unicode(attribute)}\x93`]) {
      const message = await refusal(pickle(dict(["w", `${global}(${unicode("true")}tR`])));
      expect(message).toContain(`asks for the global "${name}"`);
      expect(message).toMatch(/pickle at byte \d+/);
    }
  });

  it.each([
    ["call what may only be named", `ctorch\nFloatStorage\n(tR`, /calls torch\.FloatStorage, which may only be named/],
    ["instantiate by old opcodes", "(iposix\nsystem\n", /opcode 0x69/],
    ["extend by registry", "\x82\x01", /opcode 0x82/],
    ["recall what is not set", "h\x07", /memo 7/],
    ["take from an empty stack", "000000", /empty stack/],
    ["store into what is no dict", "K\x01K\x02K\x03s", /no dict/],
    ["are of a later protocol", "\x80\x09", /protocol beyond 5/],
    ["have endless integers", `\x8b${u32(100)}${"\0".repeat(100)}`, /integer of 100 bytes/],
    ["have strings beyond their end", `X${u32(2 ** 31)}`, /before its STOP/],
    ["have strings of 2^63 bytes", `\x8d${"\xff".repeat(8)}`, /before its STOP/],
    [
      "have storages of foreign types",
      `((${unicode("storage")}ctorch\nQInt8Storage\n${unicode("0")}NK\x01tQ`,
      /QInt8Storage, which cannot be read/,
    ],
  ])("that %s", async (_, value, message) => {
    expect(await refusal(pickle(dict(["w", value]), data(24)))).toMatch(message);
  });

  it("of nothing but containers are refused before they fill the memory", async () => {
    expect(await refusal(pickle(`\x80\x02${"}".repeat(1_000_001)}.`))).toMatch(/more than 1000000 objects/);
    expect(await refusal(pickle(`\x80\x02${"N".repeat(4_000_001)}.`))).toMatch(/more than 4000000 opcodes/);
  }, 60_000);

  it("of dicts that hold themselves, again and again, end", async () => {
    expect(await refusal(pickle(`\x80\x02}q\0${unicode("model")}h\0s.`))).toMatch(/no tensors/);
    const doubled = Array.from({ length: 40 }, () => `2`).join("");
    expect(await refusal(pickle(`\x80\x02}q\0${doubled}t.`))).toMatch(/mark/);
  });
});

describe("archives", () => {
  const good = dict(["w", tensor("0", 6, [6], [1])]);

  it.each<[string, Uint8Array, RegExp]>([
    ["whose entries overlap", pickle(good, data(24), { name: "b", data: new Uint8Array(8), offset: 20 }), /overlap/],
    ["whose entries lie on one another", pickle(good, data(24, { offset: 0 })), /overlap/],
    ["that name an entry twice", pickle(good, data(24), data(24)), /stands twice/],
    ["that are encrypted", pickle(good, data(24, { flags: 1 })), /is encrypted/],
    ["of unknown compression", pickle(good, data(24, { method: 12 })), /compressed by method 12/],
    ["whose stored entry claims more", pickle(good, data(24, { size: 25 })), /stored in 24 bytes but claims 25/],
    [
      "that claim more than deflate can",
      pickle(good, data(24, { deflate: true, size: 2 ** 31 })),
      /more than deflate can/,
    ],
    [
      "that inflate to more than they claim",
      pickle(good, data(2 ** 16, { deflate: true, size: 24 })),
      /inflates to more than the 24/,
    ],
    ["that inflate to less", pickle(good, data(20, { deflate: true, size: 24 })), /inflates to 20 bytes/],
    ["without a pickle", zip([{ name: "mimetype", data: new Uint8Array(4) }]), /without data\.pkl/],
  ])("%s", async (_, bytes, message) => {
    expect(await refusal(bytes)).toMatch(message);
  });

  it("whose pickle is a bomb are refused by its size", async () => {
    const bomb = zip([{ name: "a/data.pkl", data: new Uint8Array(65 * 2 ** 20), deflate: true }]);
    expect(bomb.length).toBeLessThan(2 ** 18);
    expect(await refusal(bomb)).toMatch(/at most 67108864 are allowed/);
  });

  it("of which a byte of a name differs are refused", async () => {
    const bytes = pickle(good, data(24));
    bytes[30] = 0x62;
    expect(await refusal(bytes)).toMatch(/is called "b\/data\.pkl" in its local header/);
  });
});

it("headers of safetensors that are all brackets are refused before they are built", async () => {
  const json = `{"a":[${"[],".repeat(1_500_000)}[]]}`;
  const bytes = new Uint8Array(8 + json.length);
  new DataView(bytes.buffer).setUint32(0, json.length, true);
  bytes.set(ascii(json), 8);
  expect(await refusal(bytes)).toMatch(/more than 4000000 strings, brackets and commas/);
});

describe.each(READERS)("$name", (reader) => {
  it("answers damaged files with typed errors or sound tensors", async () => {
    const seeds = seedFiles(reader, GOLDEN);
    await fc.assert(
      fc.asyncProperty(fc.nat(), async (index) => {
        await runCase(reader, seeds, 7, index);
      }),
      { numRuns: 300, seed: 11 },
    );
  }, 60_000);
});
