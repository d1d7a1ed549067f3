/** A model folder, wherever it lies: files by relative path. In memory here (shipped assets, the browser), on disk in `folder.node.ts`. */
import { CheckpointError } from "@refl/tensor";
import { type ByteSource, bytesSource, readAll } from "./byte-source.ts";
import { type JsonObject, type JsonValue, parseJsonObject, stringifyJson } from "./json.ts";

/** JSON beyond this is no config: 64 MiB, well above the largest tokenizer files. */
const MAX_JSON_BYTES = 64 * 2 ** 20;

/** Read access to a folder. Paths are relative, with forward slashes: `unet/config.json`. */
export interface ModelFolder {
  /** What error messages call the folder. */
  readonly name: string;
  /** All files, sorted. */
  list(): Promise<string[]>;
  exists(path: string): Promise<boolean>;
  /** Opens a file; the caller closes it. @throws CheckpointError when it is missing or cannot be read. */
  open(path: string): Promise<ByteSource>;
  /** Reads a JSON object. @throws CheckpointError as `open`; DataError with the line when it is no valid JSON object. */
  readJson(path: string): Promise<JsonObject>;
}

/** A file's bytes, or its pieces one after the other, which may share memory: each is used before the next is asked for. */
export type FileData = Uint8Array | AsyncIterable<Uint8Array>;

/** A folder that can be written as well. A file appears whole or not at all, also when its pieces end in an error, which `write` then rejects with. */
export interface WritableModelFolder extends ModelFolder {
  write(path: string, data: FileData): Promise<void>;
  /** Writes JSON as diffusers does: sorted keys, two spaces, a newline at the end. */
  writeJson(path: string, value: JsonValue): Promise<void>;
}

/** @throws CheckpointError unless `path` is a plain relative path that stays inside the folder. */
export function checkRelativePath(folder: string, path: string): void {
  const parts = path.split("/");
  const plain = parts.every((part) => part !== "" && part !== "." && part !== ".." && !/[\\:\0]/.test(part));
  if (!plain) throw new CheckpointError(folder, `${JSON.stringify(path)} is not a relative path inside the folder`);
}

/** Reads a source whole and parses it as a JSON object; closes it. */
export async function readJsonSource(source: ByteSource): Promise<JsonObject> {
  try {
    if (source.size > MAX_JSON_BYTES) {
      throw new CheckpointError(source.name, `has ${source.size} bytes, JSON files may have ${MAX_JSON_BYTES}`);
    }
    const bytes = await readAll(source);
    let text: string;
    try {
      text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    } catch {
      throw new CheckpointError(source.name, "is not valid UTF-8");
    }
    return parseJsonObject(text, source.name);
  } finally {
    await source.close();
  }
}

/** A folder in memory over `files` (path to bytes), which it keeps and writes to. */
export function memoryFolder(files: Map<string, Uint8Array> = new Map(), name = "memory"): WritableModelFolder {
  const open = async (path: string): Promise<ByteSource> => {
    checkRelativePath(name, path);
    const bytes = files.get(path);
    if (!bytes) throw new CheckpointError(`${name}/${path}`, "does not exist");
    return bytesSource(bytes, `${name}/${path}`);
  };
  const write = async (path: string, data: FileData): Promise<void> => {
    checkRelativePath(name, path);
    files.set(path, data instanceof Uint8Array ? data.slice() : await joined(data));
  };
  return {
    name,
    async list() {
      return [...files.keys()].sort();
    },
    async exists(path) {
      return files.has(path);
    },
    open,
    async readJson(path) {
      return readJsonSource(await open(path));
    },
    write,
    writeJson: (path, value) => write(path, new TextEncoder().encode(stringifyJson(value))),
  };
}

async function joined(data: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  let size = 0;
  for await (const piece of data) {
    pieces.push(piece.slice());
    size += piece.byteLength;
  }
  const whole = new Uint8Array(size);
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.byteLength;
  }
  return whole;
}

/** A view of a part of a folder: `unet` gives the files below `unet/`. */
export function subfolder(folder: ModelFolder, path: string): ModelFolder {
  checkRelativePath(folder.name, path);
  const prefix = `${path}/`;
  return {
    name: `${folder.name}/${path}`,
    async list() {
      const all = await folder.list();
      return all.filter((file) => file.startsWith(prefix)).map((file) => file.slice(prefix.length));
    },
    exists: (file) => folder.exists(prefix + file),
    open: (file) => folder.open(prefix + file),
    readJson: (file) => folder.readJson(prefix + file),
  };
}
