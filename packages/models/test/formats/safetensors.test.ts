/** The safetensors reader and writer: round trips, the reference library's bytes, and files that lie. */
import {
  type ByteSource,
  blobSource,
  bytesSource,
  dtypeSize,
  entryToFloat32,
  float32Entry,
  memoryFolder,
  openSafetensors,
  type SafetensorsDType,
  streamSafetensors,
  type TensorEntry,
  writeSafetensors,
} from "@refl/models";
import { CheckpointError, DTypeError, ShapeError } from "@refl/tensor";
import fc from "fast-check";
import { describe, expect, it } from "vitest";

const DTYPES: SafetensorsDType[] = [
  "U64",
  "I64",
  "F64",
  "F32",
  "U32",
  "I32",
  "BF16",
  "F16",
  "U16",
  "I16",
  "I8",
  "U8",
  "BOOL",
];

const text = (value: string) => new TextEncoder().encode(value);

/** A file with this header text and this much data. */
function raw(header: string | Uint8Array, dataBytes = 0, headerLength?: bigint): Uint8Array {
  const json = typeof header === "string" ? text(header) : header;
  const out = new Uint8Array(8 + json.length + dataBytes);
  new DataView(out.buffer).setBigUint64(0, headerLength ?? BigInt(json.length), true);
  out.set(json, 8);
  return out;
}

const open = (bytes: Uint8Array) => openSafetensors(bytesSource(bytes, "model.safetensors"));

const entryArbitrary = fc
  .record({
    name: fc.string({ unit: "grapheme", maxLength: 12 }).filter((name) => name !== "__metadata__"),
    dtype: fc.constantFrom(...DTYPES),
    shape: fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 4 }),
    seed: fc.integer({ min: 0, max: 255 }),
  })
  .map(({ name, dtype, shape, seed }): TensorEntry => {
    const length = shape.reduce((product, size) => product * size, 1) * dtypeSize(dtype);
    return { name, dtype, shape, bytes: Uint8Array.from({ length }, (_, i) => (seed + 31 * i) % 256) };
  });
const entriesArbitrary = fc.uniqueArray(entryArbitrary, { selector: (entry) => entry.name, maxLength: 8 });
const metadataArbitrary = fc.dictionary(
  fc.string({ maxLength: 6 }).filter((key) => key !== "__proto__"),
  fc.string(),
  {
    maxKeys: 3,
    noNullPrototype: true,
  },
);

/** Fails on any read outside the file and counts the bytes given out. */
function guarded(bytes: Uint8Array): ByteSource & { readBytes: number } {
  const source = {
    name: "model.safetensors",
    size: bytes.length,
    readBytes: 0,
    async read(offset: number, length: number) {
      if (!(offset >= 0 && length >= 0 && offset + length <= bytes.length))
        throw new RangeError(`read ${offset} ${length}`);
      source.readBytes += length;
      return bytes.subarray(offset, offset + length);
    },
    async close() {},
  };
  return source;
}

describe("writeSafetensors", () => {
  it("is read back as it was", async () => {
    await fc.assert(
      fc.asyncProperty(entriesArbitrary, metadataArbitrary, async (entries, metadata) => {
        const file = await open(writeSafetensors(entries, metadata));
        expect(Object.fromEntries(file.metadata)).toEqual(metadata);
        expect(file.tensors.size).toBe(entries.length);
        for (const entry of entries) expect(await file.read(entry.name)).toEqual(entry);
      }),
    );
  });

  it("does not depend on the order of the tensors", () => {
    fc.assert(
      fc.property(
        entriesArbitrary.chain((entries) =>
          fc.tuple(fc.constant(entries), fc.shuffledSubarray(entries, { minLength: entries.length })),
        ),
        ([entries, shuffled]) => {
          expect(writeSafetensors(shuffled)).toEqual(writeSafetensors(entries));
        },
      ),
    );
  });

  it("writes the bytes of the reference library", () => {
    const zeros = writeSafetensors([{ name: "test", dtype: "I32", shape: [2, 2], bytes: new Uint8Array(16) }]);
    const header = '{"test":{"dtype":"I32","shape":[2,2],"data_offsets":[0,16]}}';
    expect(zeros).toEqual(raw(header.padEnd(64), 16));
    // safetensors.numpy.save of 0.8 for these three tensors and this metadata.
    const mixed = writeSafetensors(
      [
        { name: "b", dtype: "F16", shape: [3], bytes: Uint8Array.of(0, 60, 0, 64, 0, 66) },
        { name: "a", dtype: "U8", shape: [], bytes: Uint8Array.of(7) },
        { name: "c", dtype: "F32", shape: [1, 1], bytes: Uint8Array.of(0, 0, 128, 63) },
      ],
      { format: "pt" },
    );
    const json =
      '{"__metadata__":{"format":"pt"},"c":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]},' +
      '"b":{"dtype":"F16","shape":[3],"data_offsets":[4,10]},"a":{"dtype":"U8","shape":[],"data_offsets":[10,11]}}';
    const expected = raw(json.padEnd(Math.ceil(json.length / 8) * 8), 11);
    expected.set([0, 0, 128, 63, 0, 60, 0, 64, 0, 66, 7], expected.length - 11);
    expect(mixed).toEqual(expected);
  });

  it("refuses entries that no reader would take", () => {
    const entry: TensorEntry = { name: "w", dtype: "F32", shape: [2], bytes: new Uint8Array(8) };
    expect(() => writeSafetensors([entry, entry])).toThrow(/"w": stands twice/);
    expect(() => writeSafetensors([{ ...entry, name: "__metadata__" }])).toThrow(CheckpointError);
    expect(() => writeSafetensors([{ ...entry, name: "\ud800" }])).toThrow(CheckpointError);
    expect(() => writeSafetensors([{ ...entry, shape: [3] }])).toThrow(ShapeError);
    expect(() => writeSafetensors([{ ...entry, shape: [-2] }])).toThrow(ShapeError);
    expect(() => writeSafetensors([{ ...entry, dtype: "F8_E4M3" as SafetensorsDType }])).toThrow(DTypeError);
  });
});

describe("streamSafetensors", () => {
  const whole = async (pieces: AsyncIterable<Uint8Array>): Promise<Uint8Array> => {
    const files = new Map<string, Uint8Array>();
    await memoryFolder(files).write("whole", pieces);
    return files.get("whole")!;
  };

  it("gives the bytes of writeSafetensors wherever the data is cut", async () => {
    const cuts = fc.array(fc.nat(20), { minLength: 1 }).filter((sizes) => sizes.some((size) => size > 0));
    await fc.assert(
      fc.asyncProperty(entriesArbitrary, metadataArbitrary, cuts, async (entries, metadata, sizes) => {
        const data = async function* (ordered: readonly TensorEntry[]): AsyncGenerator<Uint8Array> {
          const bytes = Uint8Array.from(ordered.flatMap((entry) => [...entry.bytes]));
          for (let at = 0, i = 0; at < bytes.length; at += sizes[i++ % sizes.length]!)
            yield bytes.subarray(at, at + sizes[i % sizes.length]!);
        };
        expect(await whole(streamSafetensors(entries, data, metadata))).toEqual(writeSafetensors(entries, metadata));
      }),
    );
  });

  it.each([0, 3, 5])("refuses %d bytes for a tensor of four", async (count) => {
    const given = async function* () {
      yield new Uint8Array(count);
    };
    const stream = streamSafetensors([{ name: "w", dtype: "F32", shape: [1] }], given, {}, "f.safetensors");
    await expect(whole(stream)).rejects.toThrow(/f\.safetensors: its tensors take 4 bytes, (0|3|more) came/);
  });

  it("refuses headers that no file can have before any data is asked for", async () => {
    const never = () => {
      throw new Error("asked");
    };
    const entry = { name: "w", dtype: "F32", shape: [1] } as const;
    await expect(whole(streamSafetensors([entry, entry], never))).rejects.toThrow(/"w": stands twice/);
    await expect(whole(streamSafetensors([{ ...entry, shape: [-1] }], never))).rejects.toThrow(ShapeError);
  });
});

describe("openSafetensors", () => {
  it("takes any order of the header's keys", async () => {
    const file = await open(
      raw(
        '{"b":{"shape":[1],"data_offsets":[1,2],"dtype":"U8"},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
        2,
      ),
    );
    expect([...file.tensors.keys()]).toEqual(["a", "b"]);
  });

  it("keeps names that mean something to JavaScript", async () => {
    const file = await open(raw('{"__proto__":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', 1));
    expect([...file.tensors.keys()]).toEqual(["__proto__"]);
  });

  it("reads from blobs, and names a missing tensor", async () => {
    const bytes = writeSafetensors([float32Entry("w", [3], Float32Array.of(1, 2, 3))]);
    const file = await openSafetensors(blobSource(new Blob([bytes as BlobPart]), "picked"));
    expect([...entryToFloat32(await file.read("w"))]).toEqual([1, 2, 3]);
    await expect(file.read("v")).rejects.toMatchObject({ code: "checkpoint", file: "picked", missing: ["v"] });
  });

  const one = (fields: string) => `{"a.weight":{${fields}}}`;
  it.each<[string, Uint8Array, RegExp]>([
    ["an empty file", new Uint8Array(0), /header length: needs 8 bytes, the file has 0/],
    ["a truncated header", raw("{}", 0, 3n), /header length: 3 bytes, only 2 follow/],
    ["a huge header length", raw("{}", 0, 2n ** 63n), /header length: 9223372036854776000 bytes, at most 100000000/],
    ["bad UTF-8", raw(Uint8Array.of(0x7b, 0xff, 0x7d)), /header: is not valid UTF-8/],
    ["a byte order mark", raw("\ufeff{}"), /header: is not valid JSON/],
    ["bad JSON", raw("{]"), /header: is not valid JSON/],
    ["an unclosed string", raw('{"a'), /header: is not valid JSON/],
    ["no object", raw("[]"), /header: must be a JSON object/],
    ["a duplicate key", raw('{"a":1,"\\u0061":2}'), /header: key "a" stands twice/],
    ["deep nesting", raw("[".repeat(100_000) + "]".repeat(100_000)), /nested deeper than 64/],
    ["metadata of numbers", raw('{"__metadata__":{"a":1}}'), /__metadata__: "a": must be a string/],
    ["no entry object", raw('{"a.weight":3}'), /tensor "a.weight": entry: must be an object/],
    [
      "an 8-bit float",
      raw(one('"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]'), 1),
      /"a.weight": dtype: F8_E4M3 is a float of fewer than 16 bits/,
    ],
    [
      "a dtype of the prototype",
      raw(one('"dtype":"toString","shape":[1],"data_offsets":[0,1]'), 1),
      /dtype: "toString"/,
    ],
    ["no dtype", raw(one('"shape":[1],"data_offsets":[0,1]'), 1), /dtype: null/],
    [
      "a negative size",
      raw(one('"dtype":"U8","shape":[-1],"data_offsets":[0,1]'), 1),
      /shape: must be a list of non-negative/,
    ],
    ["a broken size", raw(one('"dtype":"U8","shape":[1.5],"data_offsets":[0,1]'), 1), /shape: must be/],
    [
      "an overflowing shape",
      raw(one('"dtype":"F32","shape":[9007199254740991,2],"data_offsets":[0,1]'), 1),
      /is too large/,
    ],
    [
      "an overflow hidden by a zero",
      raw(one('"dtype":"F32","shape":[9007199254740991,9007199254740991,0],"data_offsets":[0,0]')),
      /is too large/,
    ],
    ["one offset", raw(one('"dtype":"U8","shape":[1],"data_offsets":[0]'), 1), /data_offsets: must be two/],
    ["reversed offsets", raw(one('"dtype":"U8","shape":[1],"data_offsets":[1,0]'), 1), /end 0 lies before begin 1/],
    [
      "offsets that do not fit the shape",
      raw(one('"dtype":"F32","shape":[2],"data_offsets":[0,4]'), 4),
      /hold 4 bytes, F32 \[2\] needs 8/,
    ],
    [
      "offsets past the end",
      raw(one('"dtype":"U8","shape":[4],"data_offsets":[0,4]'), 3),
      /"a.weight": data_offsets: ends at 4, only 3 bytes/,
    ],
    [
      "a hole at the start",
      raw(one('"dtype":"U8","shape":[1],"data_offsets":[1,2]'), 2),
      /begins at 1, leaving a hole from 0/,
    ],
    ["trailing bytes", raw(one('"dtype":"U8","shape":[1],"data_offsets":[0,1]'), 2), /1 bytes after the last tensor/],
    [
      "overlapping tensors",
      raw(
        '{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}',
        3,
      ),
      /tensor "b": data_offsets: begins at 1, inside tensor "a"/,
    ],
  ])("refuses %s", async (_, bytes, message) => {
    const failure = await open(bytes).then(
      () => undefined,
      (error: unknown) => error,
    );
    expect(failure).toBeInstanceOf(CheckpointError);
    expect(failure).toMatchObject({ file: "model.safetensors", exitCode: 2 });
    expect((failure as Error).message).toMatch(message);
  });

  it("refuses every truncation and throws nothing but CheckpointError on mutations, reading no more than the file", async () => {
    const mutation = fc.record({ position: fc.nat(), value: fc.integer({ min: 0, max: 255 }) });
    await fc.assert(
      fc.asyncProperty(
        entriesArbitrary,
        fc.array(mutation, { maxLength: 6 }),
        fc.option(fc.nat()),
        async (entries, mutations, cut) => {
          const whole = writeSafetensors(entries, { format: "pt" });
          const headerEnd = 8 + new DataView(whole.buffer).getUint32(0, true);
          const bytes = cut === null ? whole : whole.slice(0, cut % whole.length);
          for (const { position, value } of mutations)
            if (bytes.length > 0) bytes[position % Math.min(bytes.length, headerEnd)] = value;
          const source = guarded(bytes);
          try {
            const file = await openSafetensors(source);
            expect(cut !== null && mutations.length === 0).toBe(false);
            for await (const entry of file.entries()) expect(entry.bytes.length).toBeLessThanOrEqual(bytes.length);
          } catch (error) {
            expect(error).toBeInstanceOf(CheckpointError);
          }
          expect(source.readBytes).toBeLessThanOrEqual(bytes.length);
        },
      ),
      { numRuns: 1000 },
    );
  });
});

describe("entries", () => {
  it("widens and rounds", () => {
    const values = Float32Array.of(1, -2.5, 65504, 2 ** -24);
    for (const dtype of ["F32", "F16", "BF16"] as const) {
      const entry = float32Entry("w", [2, 2], values, dtype);
      expect(entry.bytes.length).toBe(4 * dtypeSize(dtype));
      const back = entryToFloat32(entry);
      for (const [i, value] of values.entries())
        expect(Math.abs((back[i] as number) - value)).toBeLessThanOrEqual(Math.abs(value) / 256);
    }
    const double = new Uint8Array(Float64Array.of(0.1, 3).buffer);
    expect([...entryToFloat32({ name: "d", dtype: "F64", shape: [2], bytes: double })]).toEqual([Math.fround(0.1), 3]);
  });

  it("reads at any alignment", () => {
    const bytes = new Uint8Array(9).subarray(1);
    new DataView(bytes.buffer).setFloat32(5, 42, true);
    expect([...entryToFloat32({ name: "w", dtype: "F32", shape: [2], bytes })]).toEqual([0, 42]);
  });

  it("refuses integers and wrong shapes", () => {
    expect(() => entryToFloat32({ name: "ids", dtype: "I64", shape: [1], bytes: new Uint8Array(8) })).toThrow(
      DTypeError,
    );
    expect(() => float32Entry("w", [3], new Float32Array(2))).toThrow(ShapeError);
  });
});
