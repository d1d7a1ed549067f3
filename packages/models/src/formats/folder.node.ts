/** A model folder on disk. */
import { mkdir, readdir, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { CheckpointError } from "@refl/tensor";
import { writeFileAtomic } from "./atomic.node.ts";
import { openFileSource } from "./byte-source.node.ts";
import { checkRelativePath, type FileData, readJsonSource, type WritableModelFolder } from "./folder.ts";
import { stringifyJson } from "./json.ts";
import { StorageError } from "./storage-error.ts";

async function isFile(path: string): Promise<boolean> {
  const found = await stat(path).catch(() => undefined);
  return found?.isFile() ?? false;
}

async function listFiles(root: string, below: string): Promise<string[]> {
  const entries = await readdir(join(root, below), { withFileTypes: true });
  const nested = await Promise.all(
    entries.map(async (entry) => {
      const path = below ? `${below}/${entry.name}` : entry.name;
      if (entry.isDirectory()) return listFiles(root, path);
      return (await isFile(join(root, path))) ? [path] : [];
    }),
  );
  return nested.flat();
}

/**
 * The folder at `root`, which need not exist before the first write. Links to files are followed (as the Hugging Face cache has them), links
 * to folders are not listed. Files are written atomically.
 */
export function nodeFolder(root: string): WritableModelFolder {
  const open = async (path: string) => {
    checkRelativePath(root, path);
    return openFileSource(join(root, path));
  };
  const write = async (path: string, data: FileData | string) => {
    checkRelativePath(root, path);
    const target = join(root, path);
    await mkdir(dirname(target), { recursive: true }).catch((cause: NodeJS.ErrnoException) => {
      throw new StorageError(target, cause.code ?? "", `its folder cannot be made: ${cause.message}`, { cause });
    });
    await writeFileAtomic(target, data);
  };
  return {
    name: root,
    async list() {
      try {
        return (await listFiles(root, "")).sort();
      } catch (cause) {
        throw new CheckpointError(root, `cannot be listed: ${cause instanceof Error ? cause.message : String(cause)}`);
      }
    },
    async exists(path) {
      checkRelativePath(root, path);
      return isFile(join(root, path));
    },
    open,
    async readJson(path) {
      return readJsonSource(await open(path));
    },
    write,
    writeJson: (path, value) => write(path, stringifyJson(value)),
  };
}
