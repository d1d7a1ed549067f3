/** Whatever a server does, in whatever order, over several pulls: under a final name stands the whole file or nothing, and a good server ends it well. */
import { mkdtemp, readdir, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { HubError, parseModelId } from "@refl/models";
import { pullModel } from "@refl/models/node";
import fc from "fast-check";
import { expect, it } from "vitest";
import { COMMIT, type Fault, gitSha1, LoopbackHub, pseudoRandom, sha256 } from "./loopback-hub.ts";

const FILES = new Map([
  ["small.json", pseudoRandom(700, 1)],
  ["large.bin", pseudoRandom(40_000, 2)],
  ["nested/other.bin", pseudoRandom(9_000, 3)],
]);

const bytes = fc.integer({ min: 0, max: 45_000 });
const fault: fc.Arbitrary<Fault> = fc.oneof(
  fc.constant({}),
  fc.record({ cut: bytes, wrong: fc.boolean(), ignoreRange: fc.boolean() }),
  fc.record({ endEarly: bytes }),
  fc.record({ extra: fc.integer({ min: 1, max: 9 }), wrong: fc.boolean() }),
  fc.record({ lengthOff: fc.integer({ min: -9, max: 9 }) }),
  fc.record({ wrong: fc.constant(true), ignoreRange: fc.boolean() }),
  fc.constantFrom<Fault>({ drop: true }, { status: 416 }, { status: 503 }, { status: 404 }, { status: 206 }),
);

/** Every file below `root` that has a final name holds what its name says. */
async function expectWhole(root: string): Promise<void> {
  const entries = await readdir(root, { recursive: true }).catch(() => []);
  for (const entry of entries) {
    const path = join(root, entry);
    const found = await stat(path);
    if (!found.isFile() || path.endsWith(".incomplete")) continue;
    const content = await readFile(path);
    const name = entry.split("/").at(-1)!;
    if (entry.startsWith("blobs/")) expect([sha256(content), gitSha1(content)]).toContain(name);
    else if (entry.startsWith("snapshots/")) {
      const file = entry.slice(`snapshots/${COMMIT}/`.length);
      expect(sha256(content)).toBe(sha256(FILES.get(file)!));
    } else {
      // The revision is noted only once every file is there.
      expect(entry).toBe("refs/main");
      for (const [file, expected] of FILES)
        expect(sha256(await readFile(join(root, "snapshots", COMMIT, file)))).toBe(sha256(expected));
    }
  }
}

it("nothing half-written is ever taken for whole", async () => {
  const hub = await new LoopbackHub().start();
  for (const [file, content] of FILES) hub.files.set(file, content);
  const folder = await mkdtemp(join(tmpdir(), "refl-hub-whole-"));
  let round = 0;
  try {
    await fc.assert(
      fc.asyncProperty(fc.array(fault, { maxLength: 12 }), fc.integer({ min: 1, max: 3 }), async (faults, pulls) => {
        const cacheDir = join(folder, String(round++));
        const settings = { endpoint: hub.url, cacheDir, token: undefined, offline: false, timeout: 5 };
        const root = join(cacheDir, "models--some--model");
        const left = [...faults];
        const pull = () =>
          pullModel(parseModelId("some/model"), { settings, retries: 1, retryDelay: 0, concurrency: 2 });
        hub.fault = ({ method, file }) => (method === "GET" && file !== undefined ? left.shift() : undefined);
        for (let i = 0; i < pulls; i++) {
          const error = await pull().then(
            () => undefined,
            (cause: unknown) => cause,
          );
          if (error !== undefined) expect(error).toBeInstanceOf(HubError);
          await expectWhole(root);
        }
        hub.fault = () => undefined;
        await pull();
        await expectWhole(root);
        expect(await readFile(join(root, "refs", "main"), "utf8")).toBe(COMMIT);
        expect((await readdir(join(root, "blobs"))).length).toBe(FILES.size);
      }),
      { numRuns: 60 },
    );
  } finally {
    await hub.stop();
    await rm(folder, { recursive: true });
  }
}, 300_000);
