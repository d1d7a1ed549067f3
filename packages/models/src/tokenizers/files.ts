/** Vocabulary files of tokenizers: `vocab.json` with `merges.txt`, `vocab.txt`, OpenAI's packed merge list, and the configs beside them. */
import { CheckpointError, DataError } from "@refl/tensor";
import { readAll } from "../formats/byte-source.ts";
import type { ModelFolder } from "../formats/folder.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "../formats/json.ts";

/** Ids by token. */
export type Vocabulary = ReadonlyMap<string, number>;

/** Largest plain text file that is read: 64 MiB, far above any vocabulary. */
const MAX_TEXT_BYTES = 64 * 2 ** 20;

/** Reads a UTF-8 file. @throws CheckpointError when it is missing, far too large or no UTF-8. */
export async function readTextFile(folder: ModelFolder, path: string): Promise<string> {
  const source = await folder.open(path);
  try {
    if (source.size > MAX_TEXT_BYTES) {
      throw new CheckpointError(source.name, `has ${source.size} bytes, a vocabulary may have ${MAX_TEXT_BYTES}`);
    }
    return new TextDecoder("utf-8", { fatal: true }).decode(await readAll(source));
  } catch (cause) {
    if (cause instanceof TypeError) throw new CheckpointError(source.name, "is not valid UTF-8");
    throw cause;
  } finally {
    await source.close();
  }
}

/** Lines without their ends; a last line without text is none. */
function linesOf(text: string): string[] {
  const lines = text.split(/\r?\n/);
  if (lines.at(-1) === "") lines.pop();
  return lines;
}

/** Checks a table of token to id: ids are distinct integers from 0 on, with no more than a few holes. @throws DataError */
export function vocabularyFromJson(json: JsonObject, file: string, field = ""): Vocabulary {
  const vocab = new Map<string, number>();
  const seen = new Set<number>();
  const at = (token: string): string => (field ? `${field}.${token}` : token);
  for (const [token, id] of Object.entries(json)) {
    if (typeof id !== "number" || !Number.isInteger(id) || id < 0 || id >= 2 ** 31) {
      throw new DataError(file, 0, at(token), `${JSON.stringify(id)} is no token id`);
    }
    if (seen.has(id)) throw new DataError(file, 0, at(token), `has the id ${id} of another token`);
    seen.add(id);
    vocab.set(token, id);
  }
  if (vocab.size === 0) throw new DataError(file, 0, field, "has no tokens");
  return vocab;
}

/** `vocab.txt`: one token a line, the id is the line number less one. @throws DataError naming the line of a token that stands twice. */
export function vocabularyFromLines(text: string, file: string): Vocabulary {
  const vocab = new Map<string, number>();
  for (const [id, token] of linesOf(text).entries()) {
    if (vocab.has(token)) throw new DataError(file, id + 1, "", `${JSON.stringify(token)} stands twice`);
    vocab.set(token, id);
  }
  if (vocab.size === 0) throw new DataError(file, 0, "", "has no tokens");
  return vocab;
}

/** `merges.txt`: a pair a line after an optional `#version` line. @throws DataError naming the line that is no pair. */
export function mergesFromLines(text: string, file: string): string[] {
  const merges: string[] = [];
  for (const [i, line] of linesOf(text).entries()) {
    if ((i === 0 && line.includes("#version")) || line === "") continue;
    if (!/^[^ ]+ [^ ]+$/.test(line)) throw new DataError(file, i + 1, "", "is no pair of pieces with a blank between");
    merges.push(line);
  }
  return merges;
}

/** Merges of a `tokenizer.json`, which has them as `"a b"` or as `["a", "b"]`. @throws DataError */
export function mergesFromJson(value: JsonValue | undefined, file: string, field: string): string[] {
  if (!Array.isArray(value)) throw new DataError(file, 0, field, "must be a list of pairs");
  return value.map((pair, i) => {
    const joined = Array.isArray(pair) ? pair.join(" ") : pair;
    if (typeof joined !== "string" || !/^[^ ]+ [^ ]+$/.test(joined)) {
      throw new DataError(file, 0, `${field}.${i}`, "is no pair of pieces");
    }
    return joined;
  });
}

/** Unpacks gzip where the bytes are packed. @throws CheckpointError when they are damaged or unpack to more than 64 MiB. */
export async function gunzipText(bytes: Uint8Array, file: string): Promise<string> {
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return new TextDecoder().decode(bytes);
  const packed = new Blob([new Uint8Array(bytes)]).stream().pipeThrough(new DecompressionStream("gzip"));
  const decoder = new TextDecoder();
  const reader = packed.getReader();
  let text = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return text + decoder.decode();
      text += decoder.decode(value, { stream: true });
      if (text.length > MAX_TEXT_BYTES) throw new CheckpointError(file, `unpacks to more than ${MAX_TEXT_BYTES} bytes`);
    }
  } catch (cause) {
    if (cause instanceof CheckpointError) throw cause;
    throw new CheckpointError(file, `is damaged gzip: ${cause instanceof Error ? cause.message : String(cause)}`);
  } finally {
    reader.cancel().catch(() => undefined);
  }
}

/** The configs beside a vocabulary; empty objects where a file is missing. */
export interface TokenizerConfigs {
  readonly config: JsonObject;
  readonly special: JsonObject;
}

/** Reads `tokenizer_config.json` and `special_tokens_map.json`. */
export async function readTokenizerConfigs(folder: ModelFolder): Promise<TokenizerConfigs> {
  const read = async (path: string): Promise<JsonObject> => ((await folder.exists(path)) ? folder.readJson(path) : {});
  return { config: await read("tokenizer_config.json"), special: await read("special_tokens_map.json") };
}

/** A special token by its role (`pad_token`, …), written as text or as an object with `content`. `undefined` when no file names it. */
export function specialToken({ config, special }: TokenizerConfigs, role: string): string | undefined {
  for (const value of [special[role], config[role]]) {
    if (typeof value === "string") return value;
    if (isJsonObject(value) && typeof value["content"] === "string") return value["content"];
  }
  return undefined;
}

/** `model_max_length` of a config; `fallback` where it is missing or so large that it means no limit. */
export function maxLengthOf({ config }: TokenizerConfigs, fallback: number): number {
  const value = config["model_max_length"];
  return typeof value === "number" && Number.isInteger(value) && value >= 2 && value <= 1_000_000 ? value : fallback;
}
