/** Strict JSON: duplicate keys and deep nesting are refused, and errors name the file and the line. */
import { DataError } from "@refl/tensor";

export type JsonValue = string | number | boolean | null | JsonValue[] | JsonObject;
export interface JsonObject {
  [key: string]: JsonValue;
}

const MAX_DEPTH = 64;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** What `JSON.parse` would let pass or choke on, with its character offset. */
export interface JsonProblem {
  readonly message: string;
  readonly offset: number;
}

function closingQuote(text: string, open: number): number {
  for (let end = text.indexOf('"', open + 1); end >= 0; end = text.indexOf('"', end + 1)) {
    let slashes = 0;
    while (text.charCodeAt(end - 1 - slashes) === BACKSLASH) slashes++;
    if (slashes % 2 === 0) return end;
  }
  return -1;
}

function unescapeKey(quoted: string): string {
  if (!quoted.includes("\\")) return quoted.slice(1, -1);
  try {
    return JSON.parse(quoted) as string;
  } catch {
    return quoted;
  }
}

/**
 * Finds a duplicate key, nesting beyond 64 levels or more than `maxTokens` strings, brackets and commas in one pass and in memory proportional to the keys,
 * before anything is built. Other syntax errors are left to `JSON.parse`.
 */
export function findJsonProblem(text: string, maxTokens = Number.POSITIVE_INFINITY): JsonProblem | undefined {
  const scopes: (Set<string> | null)[] = [];
  let keyNext = false;
  let tokens = 0;
  for (let i = 0; i < text.length; i++) {
    switch (text.charCodeAt(i)) {
      case QUOTE: {
        const end = closingQuote(text, i);
        if (end < 0) return undefined;
        const scope = scopes.at(-1);
        if (scope && keyNext) {
          const key = unescapeKey(text.slice(i, end + 1));
          if (scope.has(key)) return { message: `key ${JSON.stringify(key)} stands twice in one object`, offset: i };
          scope.add(key);
          keyNext = false;
        }
        i = end;
        break;
      }
      case 0x7b: // {
        scopes.push(new Set());
        keyNext = true;
        break;
      case 0x5b: // [
        scopes.push(null);
        keyNext = false;
        break;
      case 0x7d: // }
      case 0x5d: // ]
        scopes.pop();
        keyNext = false;
        break;
      case 0x2c: // ,
        keyNext = Boolean(scopes.at(-1));
        break;
      default:
        continue;
    }
    if (++tokens > maxTokens) return { message: `has more than ${maxTokens} strings, brackets and commas`, offset: i };
    if (scopes.length > MAX_DEPTH) return { message: `is nested deeper than ${MAX_DEPTH} levels`, offset: i };
  }
  return undefined;
}

function lineOf(text: string, offset: number): number {
  let line = 1;
  for (let i = text.indexOf("\n"); i >= 0 && i < offset; i = text.indexOf("\n", i + 1)) line++;
  return line;
}

function syntaxErrorLine(text: string, message: string): number {
  const line = /line (\d+)/.exec(message);
  if (line) return Number(line[1]);
  const position = /position (\d+)/.exec(message);
  return position ? lineOf(text, Number(position[1])) : 0;
}

/**
 * Parses JSON text of `file`.
 * @throws DataError with file and line on a syntax error, a duplicate key or nesting beyond 64 levels.
 */
export function parseJson(text: string, file: string): JsonValue {
  const problem = findJsonProblem(text);
  if (problem) throw new DataError(file, lineOf(text, problem.offset), "", problem.message);
  try {
    return JSON.parse(text) as JsonValue;
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause);
    throw new DataError(file, syntaxErrorLine(text, message), "", `is not valid JSON: ${message}`);
  }
}

/** Whether a JSON value is an object (not an array, not null). */
export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * Parses JSON whose top is an object.
 * @throws DataError as `parseJson`, and when the top is no object.
 */
export function parseJsonObject(text: string, file: string): JsonObject {
  const value = parseJson(text, file);
  if (!isJsonObject(value)) throw new DataError(file, 1, "", "must hold a JSON object");
  return value;
}

function sortKeys(value: JsonValue): JsonValue {
  if (Array.isArray(value)) return value.map(sortKeys);
  if (!isJsonObject(value)) return value;
  return Object.fromEntries(
    Object.keys(value)
      .sort()
      .map((key) => [key, sortKeys(value[key] as JsonValue)]),
  );
}

/** JSON as diffusers writes configs: keys sorted, two spaces, a newline at the end. Deterministic. */
export function stringifyJson(value: JsonValue): string {
  return `${JSON.stringify(sortKeys(value), null, 2)}\n`;
}
