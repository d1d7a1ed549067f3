/** JSON records with the lines they stand on, from an array in one JSON text or from one record per line (JSONL). */
import { DataError } from "@refl/tensor";

/** One record: its value, its text, and the 1-based line on which it begins. */
export interface JsonRecord {
  readonly value: unknown;
  readonly text: string;
  readonly line: number;
}

const countLines = (text: string, from: number, to: number): number => {
  let lines = 0;
  for (let i = text.indexOf("\n", from); i >= 0 && i < to; i = text.indexOf("\n", i + 1)) lines++;
  return lines;
};

/** Index just behind the string literal that begins at `start`, or the text's length when it does not end. */
function skipString(text: string, start: number): number {
  for (let i = start + 1; i < text.length; i++) {
    if (text[i] === "\\") i++;
    else if (text[i] === '"') return i + 1;
  }
  return text.length;
}

function parseRecord(file: string, text: string, line: number): JsonRecord {
  try {
    return { value: JSON.parse(text), text, line };
  } catch (error) {
    throw new DataError(file, line, "", `is not JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function parseArray(file: string, text: string, open: number): JsonRecord[] {
  const records: JsonRecord[] = [];
  let line = 1 + countLines(text, 0, open);
  let depth = 0;
  let start = open + 1;
  let lineAtStart = line;
  let closed = -1;
  const take = (end: number, separator: string): void => {
    const raw = text.slice(start, end);
    const trimmed = raw.trim();
    const recordLine = lineAtStart + countLines(raw, 0, raw.length - raw.trimStart().length);
    if (trimmed !== "") records.push(parseRecord(file, trimmed, recordLine));
    else if (separator === "," || records.length > 0)
      throw new DataError(file, recordLine, "", "a record is missing here");
    start = end + 1;
    lineAtStart = line;
  };
  for (let i = open + 1; i < text.length && closed < 0; i++) {
    const character = text[i];
    if (character === "\n") line++;
    else if (character === '"') {
      const end = skipString(text, i);
      line += countLines(text, i, end);
      i = end - 1;
    } else if (character === "[" || character === "{") depth++;
    else if (character === "]" && depth === 0) {
      take(i, "]");
      closed = i;
    } else if (character === "]" || character === "}") depth--;
    else if (character === "," && depth === 0) take(i, ",");
  }
  if (closed < 0) throw new DataError(file, line, "", "the array is not closed: the file is cut off");
  if (text.slice(closed + 1).trim() !== "") throw new DataError(file, line, "", "text after the array's end");
  return records;
}

/** Takes the faults of single records, so that reading can go on behind them. */
export type FaultSink = (fault: DataError) => void;

/** Runs `read`; a DataError goes to `faults` when there is one, and is thrown on otherwise. */
export function tolerate<T>(faults: FaultSink | undefined, read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (!faults || !(error instanceof DataError)) throw error;
    faults(error);
    return undefined;
  }
}

/**
 * All records of a JSON array or of JSONL (told apart by the first character; empty lines are skipped). DataError names the file and the line;
 * with `faults`, broken lines of JSONL go there instead, and what can be read is returned.
 */
export function parseJsonRecords(file: string, text: string, faults?: FaultSink): JsonRecord[] {
  const body = text.startsWith("\ufeff") ? ` ${text.slice(1)}` : text;
  const open = body.search(/\S/);
  if (open >= 0 && body[open] === "[") return tolerate(faults, () => parseArray(file, body, open)) ?? [];
  const records: JsonRecord[] = [];
  for (const [i, line] of body.split("\n").entries()) {
    if (line.trim() === "") continue;
    const record = tolerate(faults, () => parseRecord(file, line.trim(), i + 1));
    if (record) records.push(record);
  }
  return records;
}

/** The line on which a record's own field begins, or the record's line when it has no such field. */
export function lineOfField(record: JsonRecord, field: string): number {
  const { text } = record;
  const key = JSON.stringify(field);
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    const character = text[i];
    if (character === '"') {
      const end = skipString(text, i);
      if (depth === 1 && text.slice(i, end) === key && /^\s*:/.test(text.slice(end))) {
        return record.line + countLines(text, 0, i);
      }
      i = end - 1;
    } else if (character === "[" || character === "{") depth++;
    else if (character === "]" || character === "}") depth--;
  }
  return record.line;
}
