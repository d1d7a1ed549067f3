/** Content stamps: a step is skipped while the hash of its inputs is the one it last finished with. */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, relative, sep } from "node:path";

/** Hex SHA-256 over `files` below `root` (paths and contents, in sorted order; a missing file counts as such) and the strings `extra`. */
export function hashFiles(root, files, extra = []) {
  const hash = createHash("sha256");
  for (const text of extra) hash.update(`${text}\0`);
  for (const file of [...new Set(files)].sort()) {
    const path = join(root, file);
    hash.update(`${file.split(sep).join("/")}\0`);
    if (existsSync(path)) {
      const bytes = readFileSync(path);
      hash.update(`${bytes.length}\0`);
      hash.update(bytes);
    } else {
      hash.update("missing\0");
    }
  }
  return hash.digest("hex");
}

/** The files below `root/folder` for which `keep(path)` holds, as paths relative to `root`; none when the folder is missing. */
export function listFiles(root, folder, keep = () => true) {
  const base = join(root, folder);
  if (!existsSync(base)) return [];
  return readdirSync(base, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(root, join(entry.parentPath ?? entry.path, entry.name)))
    .filter(keep);
}

/** The stamp stored in `file`, or null. */
export function readStamp(file) {
  return existsSync(file) ? readFileSync(file, "utf8").trim() : null;
}

/** Stores a stamp in one step, so that an interrupted run never leaves half of one. */
export function writeStamp(file, stamp) {
  mkdirSync(dirname(file), { recursive: true });
  const temporary = `${file}.${process.pid}.tmp`;
  writeFileSync(temporary, `${stamp}\n`);
  renameSync(temporary, file);
}

/** Does `work` unless `file` holds `stamp` and every path of `outputs` exists. The old stamp goes first, the new one comes last. Returns whether it worked. */
export async function unlessStamped(file, stamp, outputs, work) {
  if (readStamp(file) === stamp && outputs.every((path) => existsSync(path))) return false;
  rmSync(file, { force: true });
  await work();
  writeStamp(file, stamp);
  return true;
}
