/** Ids, wildcards, ETags, listings and settings: what is taken, and what is refused. */
import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { modelIdText, parseModelId, parseModelReference } from "@refl/models";
import { findSnapshot, hubCacheDir, hubSettings, localModelPath } from "@refl/models/node";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { parseEtag } from "../../src/hub/etag.ts";
import { isPattern, matcher } from "../../src/hub/glob.ts";
import { mayCarryToken } from "../../src/hub/http.node.ts";
import { parseListing } from "../../src/hub/listing.ts";
import { unsafePath } from "../../src/hub/model-id.ts";

let folder = "";
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "refl-hub-names-"));
});
afterEach(() => rm(folder, { recursive: true }));

describe("ids", () => {
  it("are owner, name and revision, and may name a file", () => {
    expect(parseModelId("a/b")).toEqual({ owner: "a", name: "b", revision: "main" });
    expect(parseModelId("Comp-Vis/sd-v1.4@refs/pr/1")).toMatchObject({ name: "sd-v1.4", revision: "refs/pr/1" });
    expect(parseModelReference("a/b@v2:unet/x.bin")).toEqual({
      id: { owner: "a", name: "b", revision: "v2" },
      file: "unet/x.bin",
    });
    for (const text of ["a/b", "a/b@v2"]) expect(modelIdText(parseModelId(text))).toBe(text);
  });

  it.each([
    "",
    "a",
    "a/b/c",
    "/a/b",
    "./a",
    "../b",
    "a/..",
    "a/b--c",
    "a/b..c",
    "-a/b",
    "a/b.",
    "a/b@",
    "a/b@../x",
    "a/b@/x",
    "a/b:../x",
    "a b/c",
    "a/b:x",
    "C:/models",
    "ä/b",
    `a/${"b".repeat(97)}`,
  ])("are not %j", (text) => {
    expect(() => parseModelId(text)).toThrow(/no model of a hub/);
  });
});

describe("patterns", () => {
  it.each([
    ["*.json", "unet/config.json", true],
    ["*.json", "config.jsonl", false],
    ["unet/", "unet/a/b", true],
    ["unet/", "unet2/a", false],
    ["model-0000?-of-*.bin", "model-00001-of-00002.bin", true],
    ["[!a-c]x", "dx", true],
    ["[!a-c]x", "bx", false],
    ["[]]x", "]x", true],
    ["[z-a]", "m", false],
    ["[!z-a]", "m", true],
    ["[a-]", "-", true],
    ["[\\^]", "^", true],
    ["a[b", "a[b", true],
    ["a.c", "abc", false],
    ["A", "a", false],
    ["a+(b)|c$", "a+(b)|c$", true],
    ["*", "a\nb", true],
  ])("%j on %j: %j", (pattern, name, fits) => {
    expect(matcher([pattern])(name)).toBe(fits);
  });

  it("without wildcards fit their own name alone", () => {
    const plain = fc.string({ unit: "binary" }).filter((text) => !isPattern(text));
    fc.assert(
      fc.property(plain, fc.string(), (name, other) => {
        expect(matcher([name])(name)).toBe(true);
        expect(matcher([name])(other)).toBe(name === other);
      }),
    );
  });
});

it("file names that pass stay inside their folder on every system", () => {
  const part = fc.constantFrom("..", ".", "", "a", "b.c", "C:", "x\\y", "\\", "\u0000", "\u009b", "...", " ");
  fc.assert(
    fc.property(fc.array(part, { minLength: 1, maxLength: 5 }), (parts) => {
      const name = parts.join("/");
      const safe = parts.every((text) => ["a", "b.c", "...", " "].includes(text));
      expect(unsafePath(name) === undefined).toBe(safe);
    }),
  );
});

it("ETags are SHA-256, Git's SHA-1, or nothing that could be checked", () => {
  const long = "0123456789ABCDEF".repeat(4);
  expect(parseEtag(`W/"${long}"`)).toEqual({ etag: long.toLowerCase(), hash: "sha256" });
  expect(parseEtag("a".repeat(40))).toEqual({ etag: "a".repeat(40), hash: "git-sha1" });
  for (const header of ["", '""', "a".repeat(39), `"${"a".repeat(40)}-2"`, `../${"a".repeat(40)}`, "a".repeat(128)])
    expect(parseEtag(header)).toBeUndefined();
});

it("listings are a commit and names, each once", () => {
  const sha = "1".repeat(40);
  const siblings = ["b", "a/c", "b"].map((rfilename) => ({ rfilename }));
  expect(parseListing(JSON.stringify({ sha, siblings, more: 1 }), "m")).toEqual({ commit: sha, files: ["b", "a/c"] });
  fc.assert(
    fc.property(fc.json(), (text) => {
      expect(() => parseListing(text, "m")).toThrow(expect.objectContaining({ code: "hub", reason: "protocol" }));
    }),
  );
});

describe("settings", () => {
  it("find the cache as the hub's own client does", () => {
    const home = join(homedir(), ".cache", "huggingface", "hub");
    expect(hubCacheDir({})).toBe(home);
    expect(hubCacheDir({ HF_HOME: "", HF_HUB_CACHE: "" })).toBe(home);
    expect(hubCacheDir({ XDG_CACHE_HOME: "/x" })).toBe("/x/huggingface/hub");
    expect(hubCacheDir({ XDG_CACHE_HOME: "/x", HF_HOME: "/y" })).toBe("/y/hub");
    expect(hubCacheDir({ HF_HOME: "/y", HF_HUB_CACHE: "~/z" })).toBe(join(homedir(), "z"));
  });

  it("take options over the environment", async () => {
    const env = { HF_ENDPOINT: "https://mirror.example/hub/", HF_HUB_OFFLINE: "yes", HF_HOME: folder };
    expect(await hubSettings({}, env)).toEqual({
      endpoint: "https://mirror.example/hub",
      cacheDir: join(folder, "hub"),
      token: undefined,
      offline: true,
      timeout: 30,
    });
    const over = { endpoint: "http://127.0.0.1:1", cacheDir: folder, offline: false };
    expect(await hubSettings(over, { ...env, HF_HUB_OFFLINE: "0" })).toMatchObject(over);
  });

  it("find the token in the environment or in its file", async () => {
    await writeFile(join(folder, "token"), "hf_file\n");
    const token = async (env: Record<string, string>) => (await hubSettings({}, { HF_HOME: folder, ...env })).token;
    expect(await token({})).toBe("hf_file");
    expect(await token({ HF_TOKEN: "hf_env" })).toBe("hf_env");
    expect(await token({ HF_TOKEN_PATH: join(folder, "none") })).toBeUndefined();
    expect(await token({ HF_HUB_DISABLE_IMPLICIT_TOKEN: "1" })).toBeUndefined();
    await expect(token({ HF_TOKEN: "hf_a\r\nhost: b" })).rejects.toThrow(/HF_TOKEN\) holds spaces/);
  });

  it.each(["x", "ftp://x", "https://user:word@x", "https://x?y=1"])("refuse the endpoint %j", async (endpoint) => {
    await expect(hubSettings({}, { HF_ENDPOINT: endpoint })).rejects.toMatchObject({ code: "hub", reason: "setting" });
  });

  it("refuse a timeout that is none", async () => {
    await expect(hubSettings({}, { HF_HUB_DOWNLOAD_TIMEOUT: "soon" })).rejects.toThrow(/must be a number of seconds/);
  });

  it("let a token travel over https, and over plain http to the machine itself alone", () => {
    const may = (url: string) => mayCarryToken(new URL(url));
    for (const url of ["https://x.example", "http://127.0.0.1:80", "http://localhost", "http://[::1]:1"])
      expect(may(url)).toBe(true);
    for (const url of ["http://x.example", "http://127.0.0.1.x.example", "http://localhost.x.example"])
      expect(may(url)).toBe(false);
  });
});

describe("a model's path", () => {
  it("is what lies there, else the cache's snapshot, else left to the reader", async () => {
    const commit = "2".repeat(40);
    const root = join(folder, "models--a--b");
    const snapshot = join(root, "snapshots", commit);
    await mkdir(join(root, "refs"), { recursive: true });
    await mkdir(join(root, "blobs"));
    await mkdir(snapshot, { recursive: true });
    await writeFile(join(root, "refs", "main"), `${commit}\n`);
    await writeFile(join(root, "blobs", "x"), "x");
    await symlink("../../blobs/x", join(snapshot, "x.bin"));
    await symlink("../../blobs/gone", join(snapshot, "gone.bin"));
    expect(await localModelPath("a/b", folder)).toBe(snapshot);
    expect(await localModelPath(`a/b@${commit}:x.bin`, folder)).toBe(join(snapshot, "x.bin"));
    await expect(localModelPath("a/b:gone.bin", folder)).rejects.toThrow(/not in the hub's cache/);
    await expect(localModelPath("a/b@v2", folder)).rejects.toMatchObject({ code: "checkpoint" });
    for (const words of ["runs/demo-1/checkpoints", "none", "/none", folder])
      expect(await localModelPath(words, folder)).toBe(words);
    await writeFile(join(root, "refs", "main"), "../../../../etc");
    expect(await findSnapshot(folder, parseModelId("a/b"))).toBeUndefined();
  });
});
