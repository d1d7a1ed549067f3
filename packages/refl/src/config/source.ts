/** Where config values come from: a YAML or JSON text that remembers its lines, flags, or plain values. */
import { DataError } from "@refl/tensor";
import { isMap, isScalar, LineCounter, parse, parseDocument, type YAMLMap } from "yaml";

/** Values by name, as they come from a file or from flags: not yet checked. */
export type ConfigValues = { readonly [key: string]: unknown };

/** A file and a line in it (1-based; 0 where there are no lines). For a flag the file is the flag's own text. */
export interface ConfigPlace {
  readonly file: string;
  readonly line: number;
}

/** One layer of config values. */
export interface ConfigSource {
  readonly values: ConfigValues;
  /** Where the value at a path of keys stands; of the nearest enclosing key when it has no place of its own. */
  locate(path: readonly string[]): ConfigPlace;
}

/** Whether a value is a mapping of names (and no list). */
export function isConfigValues(value: unknown): value is ConfigValues {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Aliases in YAML may expand to at most this many nodes: a short text can otherwise fill the memory. */
const MAX_ALIASES = 100;

/**
 * Reads a config text: YAML 1.2, of which JSON is a part. `file` is the name for messages.
 * Throws `DataError` with the line for a syntax error, a key given twice, or a text that is no mapping.
 */
export function parseConfig(text: string, file: string): ConfigSource {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const error = document.errors[0];
  if (error) throw new DataError(file, lines.linePos(error.pos[0]).line, "", error.message);
  let values: unknown;
  try {
    values = document.toJS({ maxAliasCount: MAX_ALIASES }) ?? {};
  } catch (cause) {
    throw new DataError(file, 0, "", (cause as Error).message);
  }
  if (!isConfigValues(values)) throw new DataError(file, 1, "", "expected `name: value` lines, or one JSON object");
  const locate = (path: readonly string[]): ConfigPlace => {
    let line = 0;
    let node: unknown = document.contents;
    for (const key of path) {
      if (!isMap(node)) break;
      const pair = (node as YAMLMap).items.find((item) => isScalar(item.key) && String(item.key.value) === key);
      if (!pair) break;
      const start = isScalar(pair.key) ? pair.key.range?.[0] : undefined;
      if (start !== undefined) line = lines.linePos(start).line;
      node = pair.value;
    }
    return { file, line };
  };
  return { values, locate };
}

/** Values without a file, such as a task's preset. `name` stands in messages. */
export function plainSource(values: ConfigValues, name: string): ConfigSource {
  return { values, locate: () => ({ file: name, line: 0 }) };
}

/** One value set on the command line: the keys to it, the value, and the flag as the user wrote it. */
export interface ConfigFlag {
  readonly path: readonly string[];
  readonly value: unknown;
  readonly flag: string;
}

/** One flag as a layer; later flags go over earlier ones. */
export function flagSource({ path, value, flag }: ConfigFlag): ConfigSource {
  const values = [...path].reverse().reduce<unknown>((inner, key) => ({ [key]: inner }), value);
  return { values: values as ConfigValues, locate: () => ({ file: flag, line: 0 }) };
}

/**
 * Reads `a.b=value` (the text after `--set`); the value is YAML, so `1e-5`, `true`, `null`, `[a, b]` and plain words all mean what they look like.
 * Throws `DataError` when there is no `=`, an empty key, or a value that is no YAML.
 */
export function parseAssignment(text: string): ConfigFlag {
  const flag = `--set ${text}`;
  const equals = text.indexOf("=");
  const path = text.slice(0, Math.max(0, equals)).trim().split(".");
  if (equals < 0 || path.some((key) => key === ""))
    throw new DataError(flag, 0, "", "expected name=value, with dots between nested names, as in lora.rank=4");
  try {
    return { path, value: parse(text.slice(equals + 1), { maxAliasCount: MAX_ALIASES }) as unknown, flag };
  } catch (cause) {
    throw new DataError(flag, 0, path.join("."), (cause as Error).message.split("\n")[0]!);
  }
}
