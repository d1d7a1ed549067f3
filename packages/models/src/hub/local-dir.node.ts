/** A model's files in a folder of the user's own, with the notes that the hub's client keeps beside them about what they are. */
import { createHash } from "node:crypto";
import { mkdir, readFile, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { writeError, writeFileAtomic } from "../formats/atomic.node.ts";
import { isIntact } from "./fetch-file.node.ts";
import type { RemoteFile } from "./hub-client.node.ts";

/** The folder of notes; a model's own file of such a name would be taken for one. */
export const NOTES = ".cache/huggingface";

const notesPath = (root: string, file: string): string => join(root, NOTES, "download", `${file}.metadata`);

/** What a file's partial downloads are called. */
export function localStem(root: string, { file, etag }: RemoteFile): string {
  const short = createHash("sha256").update(file).digest("hex").slice(0, 16);
  return join(root, NOTES, "download", `${short}.${etag}`);
}

/** Notes what a file is: commit, ETag and the time, a line each. @throws StorageError */
export async function writeNote(root: string, { file, commit, etag }: RemoteFile): Promise<void> {
  const path = notesPath(root, file);
  const ignore = join(root, NOTES, ".gitignore");
  try {
    await mkdir(dirname(path), { recursive: true });
  } catch (cause) {
    throw writeError(path, cause);
  }
  if (!(await stat(ignore).catch(() => undefined))) await writeFileAtomic(ignore, "*\n");
  await writeFileAtomic(path, `${commit}\n${etag}\n${Date.now() / 1000}\n`);
}

/**
 * What a file in the folder is to the hub's: the same by its note, where it has not been changed since (`noted`), the same by its hash (`intact`),
 * or another one or none (`other`).
 */
export async function localState(
  root: string,
  remote: RemoteFile,
  signal?: AbortSignal,
): Promise<"noted" | "intact" | "other"> {
  const path = join(root, remote.file);
  const found = await stat(path).catch(() => undefined);
  if (!found?.isFile() || found.size !== remote.size) return "other";
  const [commit, etag, time] = (await readFile(notesPath(root, remote.file), "utf8").catch(() => "")).split("\n");
  // A second is the coarsest grain of file times.
  const noted = etag === remote.etag && found.mtimeMs / 1000 - 1 <= Number(time);
  if (noted && commit === remote.commit) return "noted";
  return noted || (await isIntact(path, remote, signal)) ? "intact" : "other";
}
