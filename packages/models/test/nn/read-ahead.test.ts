/** Reading ahead: every tensor in its turn, whatever the sizes, in little memory. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type CheckpointParts, makeCheckpoint } from "../../src/formats/checkpoint.ts";
import { readAhead } from "../../src/nn/read-ahead.ts";

/** A checkpoint of byte tensors, each filled with a number of its own; reads end in any order. */
function bytesCheckpoint(sizes: readonly number[], hooks: Partial<Pick<CheckpointParts, "read">> = {}) {
  const tensors = new Map(sizes.map((size, i) => [`t${i}`, { name: `t${i}`, dtype: "U8" as const, shape: [size] }]));
  return makeCheckpoint({
    name: "numbers",
    format: "safetensors",
    metadata: new Map(),
    tensors,
    read: async ({ name, shape: [size] }, into) => {
      const number = Number(name.slice(1));
      for (let i = 0; i < (number * 7) % 5; i++) await Promise.resolve();
      return into!.subarray(0, size).fill(number % 251);
    },
    close: async () => {},
    ...hooks,
  });
}

const wantedOf = (count: number): [string, string][] => Array.from({ length: count }, (_, i) => [`key ${i}`, `t${i}`]);

describe("readAhead", () => {
  test("gives each tensor its own bytes until the next is asked for", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.oneof(fc.nat(20), fc.integer({ min: 0, max: 5000 })), { maxLength: 40 }),
        async (sizes) => {
          let at = 0;
          for await (const [key, { bytes }] of readAhead(bytesCheckpoint(sizes), wantedOf(sizes.length))) {
            expect(key).toBe(`key ${at}`);
            await Promise.resolve();
            expect(bytes.length).toBe(sizes[at]);
            expect(bytes.every((byte) => byte === at % 251)).toBe(true);
            at++;
          }
          expect(at).toBe(sizes.length);
        },
      ),
    );
  });

  test("has at most eight reads and 64 MiB under way, or one tensor that is larger", async () => {
    const mebibyte = 2 ** 20;
    const sizes = [80, 40, 20, 1, 1, 30, 80, 2, 64, ...Array.from({ length: 20 }, () => 0.001)].map(
      (x) => (x * mebibyte) | 0,
    );
    const buffers = new Set<Uint8Array>();
    let underWay = 0;
    let most = 0;
    let reads = 0;
    const source = bytesCheckpoint(sizes, {
      read: async ({ shape: [size] }, into) => {
        buffers.add(into!);
        underWay += size!;
        reads++;
        most = Math.max(most, underWay);
        expect(underWay <= 64 * mebibyte || underWay === size).toBe(true);
        expect(reads).toBeLessThanOrEqual(9);
        return into!.subarray(0, size);
      },
    });
    for await (const [, { bytes }] of readAhead(source, wantedOf(sizes.length))) {
      underWay -= bytes.length;
      reads--;
    }
    expect(most).toBe(80 * mebibyte);
    expect(buffers.size).toBeLessThan(sizes.length);
  });

  test("tells a failure when its turn comes", async () => {
    const source = bytesCheckpoint([1, 1, 1], {
      read: async ({ name }, into) => {
        if (name === "t1") throw new Error("no t1");
        return into!.subarray(0, 1);
      },
    });
    const seen: string[] = [];
    const all = async () => {
      for await (const [key] of readAhead(source, wantedOf(3))) seen.push(key);
    };
    await expect(all()).rejects.toThrow("no t1");
    expect(seen).toEqual(["key 0"]);
  });
});
