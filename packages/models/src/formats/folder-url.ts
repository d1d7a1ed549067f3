/** A model folder behind a URL, as browsers and Deno reach it: each file is fetched whole when it is opened. */
import { CheckpointError } from "@refl/tensor";
import { bytesSource } from "./byte-source.ts";
import { checkRelativePath, type ModelFolder, readJsonSource } from "./folder.ts";

/**
 * The folder at `url` (with or without a slash at the end). A file's path is put behind it, so `url` has no query. Web servers list no
 * folders: `list` is always empty, and what it is needed for (naming the files that there are in an error) tells nothing.
 * @throws CheckpointError from `open` and `readJson` when the server does not answer, or not with the file.
 */
export function urlFolder(url: string): ModelFolder {
  const name = url.replace(/\/+$/, "");
  const ask = async (path: string, method: "GET" | "HEAD"): Promise<Response> => {
    checkRelativePath(name, path);
    const address = `${name}/${path.split("/").map(encodeURIComponent).join("/")}`;
    try {
      return await fetch(address, { method });
    } catch (cause) {
      throw new CheckpointError(
        address,
        `cannot be fetched: ${cause instanceof Error ? cause.message : String(cause)}`,
      );
    }
  };
  const open = async (path: string) => {
    const response = await ask(path, "GET");
    const file = `${name}/${path}`;
    if (!response.ok) {
      await response.body?.cancel();
      throw new CheckpointError(file, `cannot be fetched: the server answers ${response.status}`);
    }
    return bytesSource(new Uint8Array(await response.arrayBuffer()), file);
  };
  return {
    name,
    list: async () => [],
    async exists(path) {
      const response = await ask(path, "HEAD");
      await response.body?.cancel();
      return response.ok;
    },
    open,
    async readJson(path) {
      return readJsonSource(await open(path));
    },
  };
}
