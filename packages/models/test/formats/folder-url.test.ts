/** Model folders behind a URL: files, missing files, servers that are not there, and paths that stay inside. */
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { CheckpointError } from "@refl/tensor";
import { afterAll, beforeAll, expect, it } from "vitest";
import { readAll } from "../../src/formats/byte-source.ts";
import { subfolder } from "../../src/formats/folder.ts";
import { urlFolder } from "../../src/formats/folder-url.ts";

const FILES: Readonly<Record<string, string>> = { "/m/config.json": '{"a": 1}', "/m/unet/a%20b.bin": "bytes" };

let server: Server;
let root: string;
beforeAll(async () => {
  server = createServer((request, response) => {
    const text = FILES[request.url ?? ""];
    response.statusCode = text === undefined ? 404 : 200;
    response.end(request.method === "HEAD" ? undefined : (text ?? "no"));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  root = `http://127.0.0.1:${(server.address() as AddressInfo).port}/m/`;
});
afterAll(() => new Promise((resolve) => server.close(resolve)));

it("reads files and JSON, and tells what is there", async () => {
  const folder = urlFolder(root);
  expect(await folder.readJson("config.json")).toEqual({ a: 1 });
  expect(await folder.exists("config.json")).toBe(true);
  expect(await folder.exists("other.json")).toBe(false);
  const unet = subfolder(folder, "unet");
  expect(new TextDecoder().decode(await readAll(await unet.open("a b.bin")))).toBe("bytes");
  expect(await folder.list()).toEqual([]);
});

it("names the file that the server has not, the server that does not answer, and refuses paths that lead out", async () => {
  const folder = urlFolder(root);
  await expect(folder.open("other.json")).rejects.toThrow(/m\/other\.json: .*the server answers 404/);
  await expect(folder.open("../x")).rejects.toThrow(CheckpointError);
  await expect(urlFolder("http://127.0.0.1:1/m").readJson("a.json")).rejects.toThrow(
    /127\.0\.0\.1:1\/m\/a\.json: cannot/,
  );
});
