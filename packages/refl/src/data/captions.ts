/** Caption files: one JSON record per line with a picture's file name and its text, as the Hugging Face image folder's metadata has them. */
import { DataError } from "@refl/tensor";
import { type FaultSink, lineOfField, parseJsonRecords, tolerate } from "./json-lines.ts";

/** One captioned picture. `fileName` is relative to the caption file's folder; `line` is where its record begins. */
export interface CaptionEntry {
  readonly fileName: string;
  readonly text: string;
  readonly line: number;
}

/** Whether a relative path stays inside its folder. */
const staysInside = (path: string): boolean =>
  !/^([/\\]|[A-Za-z]:)/.test(path) && !path.split(/[/\\]/).includes("..") && !path.includes("\0");

/**
 * Reads `{"file_name": "...", "text": "..."}` records; other keys are left out. DataError names file, line and field of a record that is broken,
 * lacks a field, names a file outside the folder, or names one twice; with `faults`, those go there and the others are returned.
 */
export function parseCaptions(file: string, text: string, faults?: FaultSink): CaptionEntry[] {
  const lines = new Map<string, number>();
  return parseJsonRecords(file, text, faults).flatMap((record) => {
    const entry = tolerate(faults, (): CaptionEntry => {
      const { value, line } = record;
      if (typeof value !== "object" || value === null || Array.isArray(value)) {
        throw new DataError(file, line, "", 'must be an object like {"file_name": "0.png", "text": "a big cat"}');
      }
      const read = (field: string): string => {
        const found = (value as Record<string, unknown>)[field];
        if (typeof found === "string" && found.trim() !== "") return found;
        throw new DataError(file, lineOfField(record, field), field, "must be a text that is not empty");
      };
      const fileName = read("file_name");
      if (!staysInside(fileName)) {
        throw new DataError(file, lineOfField(record, "file_name"), "file_name", `"${fileName}" leaves the folder`);
      }
      const before = lines.get(fileName);
      if (before !== undefined) {
        throw new DataError(file, line, "file_name", `"${fileName}" already has a caption on line ${before}`);
      }
      lines.set(fileName, line);
      return { fileName, text: read("text"), line };
    });
    return entry ? [entry] : [];
  });
}
