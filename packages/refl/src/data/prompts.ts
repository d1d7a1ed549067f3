/** Files of prompts: plain lines, or JSON as ImageReward's `refl_data.json` has it. */
import { DataError } from "@refl/tensor";
import { lineOfField, parseJsonRecords } from "./json-lines.ts";

/** Fields that a record's prompt may have, the first that is there being read. */
const FIELDS = ["prompt", "text"] as const;

/**
 * Reads prompts. Files called `.json` or `.jsonl` hold an array or one record per line, each a text or an object with `prompt` or `text`; all others one prompt
 * per line. Empty lines and white space around a prompt are left out. DataError names file and line of a record without a prompt, and a file without any.
 */
export function parsePrompts(file: string, text: string): string[] {
  const body = text.replace(/^\ufeff/, "");
  const prompts = /\.jsonl?$/i.test(file)
    ? parseJsonRecords(file, body).map((record) => {
        const { value, line } = record;
        if (typeof value === "string" && value.trim()) return value.trim();
        if (typeof value !== "object" || value === null || Array.isArray(value))
          throw new DataError(file, line, "", 'must be a text, or an object like {"prompt": "a big cat"}');
        const field = FIELDS.find((name) => Object.hasOwn(value, name)) ?? FIELDS[0];
        const found = (value as Record<string, unknown>)[field];
        if (typeof found === "string" && found.trim()) return found.trim();
        throw new DataError(file, lineOfField(record, field), field, "must be a text that is not empty");
      })
    : body
        .split("\n")
        .map((line) => line.trim())
        .filter((line) => line !== "");
  if (prompts.length === 0) throw new DataError(file, 0, "", "holds no prompts");
  return prompts;
}
