/** Pulling from a hub on loopback: the cache's layout, resuming, every way in which a server misbehaves, redirects, offline, two at once. */
import { mkdir, mkdtemp, readdir, readFile, readlink, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { HubError, parseModelId } from "@refl/models";
import { type HubSettings, type PullEvent, type PulledModel, type PullOptions, pullModel } from "@refl/models/node";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { COMMIT, type Fault, gitSha1, LoopbackHub, pseudoRandom, sha256 } from "./loopback-hub.ts";

const BIG = pseudoRandom(300_000, 7);
const SMALL = new TextEncoder().encode('{"a": 1}\n');
const ID = parseModelId("some/model");

let folder = "";
let cache = "";
let hub: LoopbackHub;
const others: LoopbackHub[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "refl-hub-"));
  cache = join(folder, "hub");
  hub = await new LoopbackHub().start();
  hub.files.set("config.json", SMALL);
  hub.files.set("unet/model.safetensors", BIG);
});
afterEach(async () => {
  for (const server of [hub, ...others.splice(0)]) await server.stop();
  await rm(folder, { recursive: true, force: true });
});

const settings = (over: Partial<HubSettings> = {}): HubSettings => ({
  endpoint: hub.url,
  cacheDir: cache,
  token: undefined,
  offline: false,
  timeout: 5,
  ...over,
});

function pull(options: Partial<PullOptions> = {}, id = ID): Promise<PulledModel> {
  return pullModel(id, { settings: settings(), retries: 2, retryDelay: 0.001, ...options });
}

const root = (): string => join(cache, "models--some--model");
const blobs = (): Promise<string[]> => readdir(join(root(), "blobs")).catch(() => []);
const wholeBlobs = async (): Promise<string[]> => (await blobs()).filter((name) => !name.endsWith(".incomplete"));

/** The faults of a file's GETs, one after the other; after them all goes well. */
function faults(file: string, ...list: readonly Fault[]): void {
  const left = [...list];
  hub.fault = (asked) => (asked.method === "GET" && asked.file === file ? left.shift() : undefined);
}

const always = (file: string, fault: Fault): void => {
  hub.fault = (asked) => (asked.method === "GET" && asked.file === file ? fault : undefined);
};

/** Nothing in the cache under a final name but whole files. */
async function expectOnlyWhole(): Promise<void> {
  const hashes = new Set([...hub.files.values()].flatMap((bytes) => [sha256(bytes), gitSha1(bytes)]));
  for (const name of await wholeBlobs()) {
    const bytes = await readFile(join(root(), "blobs", name));
    expect(hashes).toContain(name);
    expect([sha256(bytes), gitSha1(bytes)]).toContain(name);
  }
}

describe("the cache", () => {
  it("is the hub's own: blobs under their hashes, relative links in the snapshot, the commit in refs", async () => {
    const { folder: snapshot, commit, files } = await pull();
    expect(commit).toBe(COMMIT);
    expect(snapshot).toBe(join(root(), "snapshots", COMMIT));
    expect(await readFile(join(root(), "refs", "main"), "utf8")).toBe(COMMIT);
    expect((await blobs()).sort()).toEqual([gitSha1(SMALL), sha256(BIG)].sort());
    expect(await readlink(join(snapshot, "config.json"))).toBe(`../../blobs/${gitSha1(SMALL)}`);
    expect(await readlink(join(snapshot, "unet", "model.safetensors"))).toBe(`../../../blobs/${sha256(BIG)}`);
    expect(sha256(await readFile(join(snapshot, "unet", "model.safetensors")))).toBe(sha256(BIG));
    expect(files.map(({ file, size, state }) => [file, size, state])).toEqual([
      ["config.json", SMALL.length, "fetched"],
      ["unet/model.safetensors", BIG.length, "fetched"],
    ]);
  });

  it("is not fetched into twice, unless forced; a new commit with old files only links them", async () => {
    await pull();
    hub.asked.length = 0;
    expect((await pull()).files.every(({ state }) => state === "present")).toBe(true);
    expect(hub.of("GET").filter(({ file }) => file)).toEqual([]);
    hub.commit = "f".repeat(40);
    expect((await pull()).folder).toBe(join(root(), "snapshots", hub.commit));
    expect(hub.of("GET").filter(({ file }) => file)).toEqual([]);
    expect(await readFile(join(root(), "refs", "main"), "utf8")).toBe(hub.commit);
    await pull({ force: true });
    expect(hub.of("GET").filter(({ file }) => file)).toHaveLength(2);
  });

  it("fetches a content once that stands under two names, and a blob anew that was cut off", async () => {
    hub.files.set("copy.safetensors", BIG);
    await pull();
    expect(hub.of("GET", "copy.safetensors").length + hub.of("GET", "unet/model.safetensors").length).toBe(1);
    await writeFile(join(root(), "blobs", sha256(BIG)), BIG.subarray(0, 10));
    await pull();
    await expectOnlyWhole();
    expect(sha256(await readFile(join(root(), "snapshots", COMMIT, "copy.safetensors")))).toBe(sha256(BIG));
  });

  it("takes an empty file", async () => {
    hub.files.set("empty", new Uint8Array());
    const { folder: snapshot } = await pull({ files: ["empty"] });
    expect((await stat(join(snapshot, "empty"))).size).toBe(0);
  });

  it("notes tags, commits and revisions with slashes", async () => {
    await pull({ files: ["config.json"] }, parseModelId("some/model@refs/pr/1"));
    expect(await readFile(join(root(), "refs", "refs", "pr", "1"), "utf8")).toBe(COMMIT);
    expect(hub.asked[0]!.path).toBe("/some/model/resolve/refs%2Fpr%2F1/config.json");
    await pull({ files: ["config.json"] }, parseModelId(`some/model@${COMMIT}`));
    expect(await readdir(join(root(), "refs"))).toEqual(["refs"]);
  });
});

describe("files", () => {
  it("are chosen by names and patterns, and left out by patterns", async () => {
    hub.files.set("unet/config.json", SMALL);
    hub.files.set("weights[1].bin", SMALL);
    const names = async (options: Partial<PullOptions>) =>
      (await pull({ dryRun: true, ...options })).files.map(({ file }) => file);
    expect(await names({ files: ["*.json"] })).toEqual(["config.json", "unet/config.json"]);
    expect(await names({ files: ["unet/"] })).toEqual(["unet/model.safetensors", "unet/config.json"]);
    expect(await names({ files: ["config.json", "*.safetensors"] })).toEqual(["config.json", "unet/model.safetensors"]);
    expect(await names({ exclude: ["*.json", "weights*"] })).toEqual(["unet/model.safetensors"]);
    expect(await names({ files: ["weights[1].bin"] })).toEqual(["weights[1].bin"]);
    await expect(names({ files: ["*.bin", "*.ckpt"] })).rejects.toThrow(/\*\.ckpt: the model has no such file/);
    await expect(names({ files: ["confg.json"], exclude: ["x"] })).rejects.toThrow(/did you mean "config\.json"/);
    await expect(names({ files: ["*.json"], exclude: ["*"] })).rejects.toThrow(/no file that is wanted/);
    await expect(names({ files: ["../secret"] })).rejects.toMatchObject({ reason: "setting" });
    expect(await readdir(folder)).toEqual([]);
  });

  it("need no listing when they are named", async () => {
    await pull({ files: ["config.json", "unet/model.safetensors"] });
    expect(hub.asked.some(({ path }) => path.startsWith("/api/"))).toBe(false);
  });

  it.each([
    "../../outside",
    "a/../../outside",
    "/etc/outside",
    "C:/outside",
    "..\\outside",
    "a//b",
    "",
    ".",
    "line\nbreak",
  ])("named %j by a listing are refused, and nothing is fetched", async (rfilename) => {
    hub.listing = JSON.stringify({ sha: COMMIT, siblings: [{ rfilename: "config.json" }, { rfilename }] });
    await expect(pull()).rejects.toMatchObject({
      code: "hub",
      reason: "protocol",
      message: expect.stringMatching(/refused/),
    });
    expect(await readdir(folder)).toEqual([]);
  });

  it.each(["", "<html>", "[]", '{"sha": "main"}', '{"sha": 1, "siblings": []}', '{"siblings": [{}]}'])(
    "are not read from a listing that is none: %j",
    async (listing) => {
      hub.listing = listing;
      await expect(pull()).rejects.toMatchObject({
        reason: "protocol",
        message: expect.stringMatching(/not a model's listing/),
      });
    },
  );
});

describe("a connection that drops", () => {
  it("is taken up where it ended, and the whole file is checked", async () => {
    faults("unet/model.safetensors", { cut: 100_000 }, { drop: true }, { cut: 50_000 });
    const events: PullEvent[] = [];
    await pull({ retries: 3, onEvent: (event) => events.push(event) });
    await expectOnlyWhole();
    const starts = hub.of("GET", "unet/model.safetensors").map(({ from }) => from);
    expect(starts).toEqual([0, 100_000, 100_000, 150_000]);
    expect(events.filter(({ type }) => type === "notice")).toHaveLength(3);
    expect(events.at(-1)).toEqual({ type: "progress", bytes: BIG.length + SMALL.length, files: 2 });
  });

  it("that never holds ends in an error which keeps what came, for the next pull to go on with", async () => {
    faults("unet/model.safetensors", { cut: 100_000 }, { drop: true }, { drop: true }, { drop: true });
    await expect(pull()).rejects.toMatchObject({ reason: "unavailable" });
    expect(await wholeBlobs()).not.toContain(sha256(BIG));
    expect(await blobs()).toContain(`${sha256(BIG)}.refl.incomplete`);
    expect(await readdir(root())).not.toContain("refs");
    hub.fault = () => undefined;
    hub.asked.length = 0;
    await pull();
    expect(hub.of("GET", "unet/model.safetensors").map(({ from }) => from)).toEqual([100_000]);
    expect((await blobs()).sort()).toEqual([gitSha1(SMALL), sha256(BIG)].sort());
  });

  it("may drop ever so often, as long as each time a good part comes", async () => {
    hub.files.set("long.bin", pseudoRandom(5 * 2 ** 20, 3));
    hub.fault = ({ method, file }) => (method === "GET" && file === "long.bin" ? { cut: 1.2 * 2 ** 20 } : undefined);
    await pull({ files: ["long.bin"], retries: 1 });
    expect(hub.of("GET", "long.bin")).toHaveLength(5);
    await expectOnlyWhole();
  });

  it("may be one that falls silent", async () => {
    let asked = 0;
    hub.fault = ({ method, file }) =>
      method === "GET" && file === "config.json" && asked++ === 0 ? { hang: true } : undefined;
    await pull({ settings: settings({ timeout: 0.2 }), files: ["config.json"] });
    expect(hub.of("GET", "config.json")).toHaveLength(2);
  });

  it("in the listing or in a description is tried again too", async () => {
    let left = 4;
    hub.fault = ({ method, path }) =>
      (method === "HEAD" || path.startsWith("/api/")) && left-- > 0 ? { drop: true } : undefined;
    await pull({ concurrency: 1, retries: 4 });
    await expectOnlyWhole();
  });
});

describe("a server that lies", () => {
  const file = "unet/model.safetensors";

  it("about the file's bytes is told, and nothing of them is kept", async () => {
    always(file, { wrong: true });
    await expect(pull()).rejects.toMatchObject({ reason: "damaged", message: expect.stringMatching(/its hash is/) });
    expect(await blobs()).not.toContain(sha256(BIG));
    expect((await blobs()).filter((name) => name.endsWith(".incomplete"))).toEqual([]);
    await expectOnlyWhole();
  });

  it("about a small file's bytes is told as well, by Git's hash", async () => {
    always("config.json", { wrong: true });
    await expect(pull({ files: ["config.json"] })).rejects.toMatchObject({ reason: "damaged" });
    expect(await blobs()).toEqual([]);
  });

  it("in one part alone costs a second download from the beginning", async () => {
    faults(file, { cut: 100_000, wrong: true });
    await pull({ files: [file] });
    expect(hub.of("GET", file).map(({ from }) => from)).toEqual([0, 100_000, 0]);
    await expectOnlyWhole();
  });

  it.each([
    ["ends early", { endEarly: 1000 }],
    ["announces less", { lengthOff: -10 }],
    ["announces more", { lengthOff: 10 }],
  ] as const)("about its length: %s", async (_, fault) => {
    always(file, fault);
    await expect(pull({ files: [file] })).rejects.toMatchObject({ reason: "unavailable" });
    expect(await wholeBlobs()).toEqual([]);
    faults(file, fault);
    await pull({ files: [file] });
    await expectOnlyWhole();
  });

  it("and sends more than there is is cut off", async () => {
    always(file, { extra: 5 });
    await expect(pull({ files: [file] })).rejects.toMatchObject({
      reason: "damaged",
      message: expect.stringMatching(/more than/),
    });
    expect(await blobs()).toEqual([]);
  });

  it("that does not hear Range is read from the beginning", async () => {
    faults(file, { cut: 100_000 }, { ignoreRange: true });
    await pull({ files: [file] });
    await expectOnlyWhole();
  });

  it("that answers another range than was asked is not believed", async () => {
    faults(file, { cut: 100_000 }, { headers: { "content-range": `bytes 5-${BIG.length - 1}/${BIG.length}` } });
    await pull({ files: [file] });
    await expectOnlyWhole();
  });

  it("and answers 416 makes the download begin anew", async () => {
    let denied = 0;
    hub.fault = (asked) => {
      if (asked.method !== "GET" || asked.file !== file) return undefined;
      if (asked.from > 0) return denied++ < 3 ? { status: 416 } : undefined;
      return denied === 0 ? { cut: 100_000 } : undefined;
    };
    await pull({ files: [file] });
    expect(denied).toBe(1);
    await expectOnlyWhole();
  });

  it.each([
    ["no hash", { etag: '"5d41402a-17"' }, /SHA-256 or Git hash/],
    ["no commit", { "x-repo-commit": "main" }, /a commit in X-Repo-Commit/],
    ["an encoding", { "content-encoding": "gzip" }, /a size/],
  ])("and tells %s is refused before anything is fetched", async (_, headers, message) => {
    hub.fault = ({ method, file: asked }) => (method === "HEAD" && asked === "config.json" ? { headers } : undefined);
    await expect(pull({ files: ["config.json"] })).rejects.toThrow(message);
    expect(hub.of("GET")).toEqual([]);
  });

  it("and answers for another commit than was asked is refused", async () => {
    const id = parseModelId(`some/model@${"e".repeat(40)}`);
    await expect(pull({ files: ["config.json"] }, id)).rejects.toThrow(/answers for commit 0123/);
  });
});

describe("answers without a file", () => {
  const answer = (status: number, headers: Record<string, string> = {}): void => {
    hub.fault = () => ({ status, headers });
  };

  it.each([
    [401, {}, undefined, "access", /set HF_TOKEN/],
    [401, {}, "hf_x", "access", /the access token does not open it/],
    [403, { "x-error-code": "GatedRepo" }, undefined, "access", /granted access.*set HF_TOKEN/],
    [404, { "x-error-code": "RevisionNotFound" }, undefined, "not-found", /no such revision/],
    [404, { "x-error-code": "RepoNotFound" }, undefined, "not-found", /no such model/],
    [404, {}, undefined, "not-found", /not on the hub/],
    [400, { "x-error-message": "you\u009b2J typed it wrong" }, undefined, "protocol", /status 400 \(you2J typed/],
    [304, {}, undefined, "protocol", /status 304/],
  ] as const)("%i %j", async (status, headers, token, reason, message) => {
    answer(status, headers);
    const failure = pull({ settings: settings({ token }) });
    await expect(failure).rejects.toBeInstanceOf(HubError);
    await expect(failure).rejects.toMatchObject({ code: "hub", reason, status, exitCode: 2 });
    await expect(failure).rejects.toThrow(message);
    expect(hub.asked).toHaveLength(1);
  });

  it.each([429, 500, 502, 503, 504])("%i is asked again, and told when it lasts", async (status) => {
    let left = 2;
    hub.fault = () => (left-- > 0 ? { status, headers: { "retry-after": "0" } } : undefined);
    await pull();
    await expectOnlyWhole();
    answer(status);
    await expect(pull({ force: true })).rejects.toMatchObject({ reason: "unavailable", status });
  });

  it("waits as long as the server asks, and not for hours", async () => {
    let left = 1;
    hub.fault = () => (left-- > 0 ? { status: 429, headers: { "retry-after": "1" } } : undefined);
    const start = performance.now();
    await pull({ files: ["config.json"] });
    expect(performance.now() - start).toBeGreaterThan(900);
    answer(503, { "retry-after": "7200" });
    await expect(pull({ force: true })).rejects.toThrow(/asks to wait 7200 s/);
  });

  it("is told when nobody answers", async () => {
    const gone = await new LoopbackHub().start();
    const { url } = gone;
    await gone.stop();
    await expect(pull({ settings: settings({ endpoint: url }) })).rejects.toMatchObject({
      reason: "unavailable",
      message: expect.stringMatching(/ECONNREFUSED/),
    });
  });
});

describe("redirects", () => {
  const file = "unet/model.safetensors";

  it("to another host carry no token, and the hub's headers count", async () => {
    const storage = await new LoopbackHub().start();
    others.push(storage);
    storage.files.set(file, BIG);
    hub.storage = storage.url;
    await pull({ settings: settings({ token: "hf_secret" }) });
    await expectOnlyWhole();
    expect(hub.asked.every(({ headers }) => headers.authorization === "Bearer hf_secret")).toBe(true);
    expect(storage.of("GET", file)).toHaveLength(1);
    expect(storage.of("HEAD")).toEqual([]);
    expect(storage.asked.every(({ headers }) => headers.authorization === undefined)).toBe(true);
  });

  it("that lead back give no token either, and a signed address is in no message", async () => {
    const storage = await new LoopbackHub().start();
    others.push(storage);
    hub.storage = storage.url;
    const back: string[] = [];
    hub.fault = ({ path, headers }) => {
      if (!path.startsWith("/storage/")) return undefined;
      back.push(headers.authorization ?? "none");
      return { status: 403 };
    };
    storage.fault = () => ({ status: 302, headers: { location: `${hub.url}/storage/${file}?signature=secret` } });
    const failure = pull({ settings: settings({ token: "hf_secret" }), files: [file], retries: 0 });
    await expect(failure).rejects.toThrow(/^(?!.*(?:signature|hf_secret))/);
    expect(back).toEqual(["none"]);
  });

  it("of storage that refuses are asked for anew: signed addresses run out", async () => {
    const storage = await new LoopbackHub().start();
    others.push(storage);
    storage.files.set(file, BIG);
    hub.storage = storage.url;
    let left = 1;
    storage.fault = () => (left-- > 0 ? { status: 403 } : undefined);
    await pull();
    expect(hub.of("GET", file)).toHaveLength(2);
    await expectOnlyWhole();
  });

  it("within the hub are followed, as for a model that was renamed", async () => {
    hub.fault = ({ path }) =>
      path.startsWith("/old/name/")
        ? { status: 307, headers: { location: path.replace("/old/name/", "/some/model/") } }
        : undefined;
    const { folder: snapshot } = await pull({ files: ["config.json"] }, parseModelId("old/name"));
    expect(sha256(await readFile(join(snapshot, "config.json")))).toBe(sha256(SMALL));
  });

  it("of a mirror to another hub are followed for the description too, without the token", async () => {
    const mirror = await new LoopbackHub().start();
    const storage = await new LoopbackHub().start();
    others.push(mirror, storage);
    mirror.fault = ({ path }) => ({ status: 308, headers: { location: `${hub.url}${path}` } });
    storage.files.set(file, BIG);
    hub.storage = storage.url;
    await pull({ settings: settings({ endpoint: mirror.url, token: "hf_secret" }) });
    await expectOnlyWhole();
    expect(mirror.asked.every(({ headers }) => headers.authorization === "Bearer hf_secret")).toBe(true);
    expect([...hub.asked, ...storage.asked].some(({ headers }) => headers.authorization !== undefined)).toBe(false);
    expect(storage.of("HEAD")).toEqual([]);
  });

  it.each([
    ["in a circle", "/some/model/resolve/main/config.json", /more than 10 redirects/],
    ["to other protocols", "file:///etc/passwd", /refused: not https/],
    ["to nowhere", "http://[", /no URL/],
  ])("%s are refused", async (_, location, message) => {
    hub.fault = () => ({ status: 302, headers: { location } });
    await expect(pull({ files: ["config.json"] })).rejects.toThrow(message);
  });
});

describe("two at once", () => {
  it("fetch a file once: the second waits for the first", async () => {
    always("unet/model.safetensors", { slow: 600 });
    const events: PullEvent[] = [];
    const first = pull();
    await expect.poll(blobs).toContainEqual(expect.stringMatching(/\.incomplete$/));
    const second = pull({ onEvent: (event) => events.push(event) });
    expect((await first).files.map(({ state }) => state)).toEqual(["fetched", "fetched"]);
    expect((await second).files.map(({ state }) => state)).toEqual(["present", "present"]);
    expect(hub.of("GET", "unet/model.safetensors")).toHaveLength(1);
    expect(events).toContainEqual({ type: "notice", message: expect.stringMatching(/another process is fetching it/) });
    await expectOnlyWhole();
    expect((await blobs()).filter((name) => name.endsWith(".incomplete"))).toEqual([]);
  });

  it("and what a dead process left is taken over, what may be another host's own is not", async () => {
    await mkdir(join(root(), "blobs"), { recursive: true });
    const blob = join(root(), "blobs", sha256(BIG));
    await writeFile(`${blob}.incomplete`, "another client's");
    await writeFile(`${blob}.refl-00000000-1-aa.incomplete`, BIG.subarray(0, 70_000));
    const waiting = pull({ files: ["unet/model.safetensors"] });
    await new Promise((resolve) => setTimeout(resolve, 400));
    expect(hub.of("GET")).toEqual([]);
    await rm(`${blob}.refl-00000000-1-aa.incomplete`);
    await waiting;
    expect(hub.of("GET").map(({ from }) => from)).toEqual([0]);
    expect((await blobs()).sort()).toEqual([sha256(BIG), `${sha256(BIG)}.incomplete`].sort());
  });
});

describe("an interrupted pull", () => {
  it("ends with the signal's reason and is gone on with", async () => {
    always("unet/model.safetensors", { slow: 60_000 });
    const controller = new AbortController();
    const failure = pull({
      signal: controller.signal,
      onEvent: (event) => event.type === "progress" && event.bytes > 100_000 && controller.abort(),
    });
    await expect(failure).rejects.toMatchObject({ name: "AbortError" });
    await expectOnlyWhole();
    hub.fault = () => undefined;
    hub.asked.length = 0;
    await pull();
    const [asked] = hub.of("GET", "unet/model.safetensors");
    expect(asked!.from).toBeGreaterThan(100_000);
    await expectOnlyWhole();
  });
});

describe("a folder of one's own", () => {
  it("has the files themselves, with the notes of the hub's client, and what is right there already is not fetched", async () => {
    const localDir = join(folder, "mine");
    await mkdir(join(localDir, "unet"), { recursive: true });
    await writeFile(join(localDir, "unet", "model.safetensors"), BIG);
    await writeFile(join(localDir, "config.json"), '{"a": 2}\n');
    const { files, folder: where } = await pull({ localDir });
    expect(where).toBe(localDir);
    expect(files.map(({ state }) => state)).toEqual(["fetched", "present"]);
    expect(sha256(await readFile(join(localDir, "config.json")))).toBe(sha256(SMALL));
    const note = await readFile(join(localDir, ".cache", "huggingface", "download", "config.json.metadata"), "utf8");
    expect(note.split("\n").slice(0, 2)).toEqual([COMMIT, gitSha1(SMALL)]);
    hub.asked.length = 0;
    expect((await pull({ localDir })).files.map(({ state }) => state)).toEqual(["present", "present"]);
    expect(hub.of("GET").filter(({ file }) => file)).toEqual([]);
    expect(await readdir(folder)).toEqual(["mine"]);
  });

  it("is left as it is by a dry run", async () => {
    const localDir = join(folder, "mine");
    await mkdir(localDir);
    await writeFile(join(localDir, "config.json"), SMALL);
    const { files } = await pull({ localDir, dryRun: true });
    expect(files.map(({ state }) => state)).toEqual(["present", "wanted"]);
    expect(await readdir(localDir)).toEqual(["config.json"]);
  });

  it("keeps its old file when the new one comes damaged, and goes on with a dropped one", async () => {
    const localDir = join(folder, "mine");
    await mkdir(join(localDir, "unet"), { recursive: true });
    await writeFile(join(localDir, "unet", "model.safetensors"), "old");
    always("unet/model.safetensors", { wrong: true });
    await expect(pull({ localDir })).rejects.toMatchObject({ reason: "damaged" });
    faults("unet/model.safetensors", { cut: 9_000 }, { drop: true }, { drop: true }, { drop: true });
    await expect(pull({ localDir })).rejects.toMatchObject({ reason: "unavailable" });
    expect(await readFile(join(localDir, "unet", "model.safetensors"), "utf8")).toBe("old");
    hub.fault = () => undefined;
    hub.asked.length = 0;
    await pull({ localDir });
    expect(hub.of("GET", "unet/model.safetensors").map(({ from }) => from)).toEqual([9_000]);
  });

  it("refuses a file that would stand among the notes", async () => {
    hub.files.set(".cache/huggingface/download/config.json.metadata", SMALL);
    await expect(pull({ localDir: join(folder, "mine") })).rejects.toMatchObject({ reason: "protocol" });
  });
});

describe("offline", () => {
  it("gives what the cache has and asks nobody", async () => {
    await pull({ files: ["config.json"] });
    hub.asked.length = 0;
    const offline = settings({ offline: true, endpoint: undefined });
    const found = await pull({ settings: offline, files: ["*.json"] });
    expect(found).toMatchObject({
      commit: COMMIT,
      files: [{ file: "config.json", size: SMALL.length, state: "present" }],
    });
    await expect(pull({ settings: offline, files: ["unet/model.safetensors"] })).rejects.toThrow(/has no such file/);
    await expect(pull({ settings: offline }, parseModelId("some/model@v2"))).rejects.toMatchObject({
      reason: "offline",
    });
    await expect(pull({ settings: offline, localDir: folder })).rejects.toMatchObject({ reason: "offline" });
    expect(hub.asked).toEqual([]);
  });
});

it("without an endpoint says what to set", async () => {
  await expect(pull({ settings: settings({ endpoint: undefined }) })).rejects.toThrow(/--endpoint.*HF_ENDPOINT/);
});
