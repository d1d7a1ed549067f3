/** Small files on their way into a folder in pieces. */
import type { FolderWriter } from "../../src/run/sink.ts";

async function* pieces(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  const piece = new Uint8Array(3);
  for (let at = 0; at < bytes.length; at += piece.length) {
    const part = bytes.subarray(at, at + piece.length);
    piece.set(part);
    yield piece.subarray(0, part.length);
  }
}

/** Writes texts by path, three bytes at a time. */
export const writing =
  (files: Readonly<Record<string, string>>): FolderWriter =>
  async (folder) => {
    for (const [path, text] of Object.entries(files)) await folder.write(path, pieces(new TextEncoder().encode(text)));
  };
