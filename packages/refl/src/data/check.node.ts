/** The check of a user's data: broken files, duplicates, missing captions, and leaks between its parts, each with file and line. */
import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { DataError } from "@refl/tensor";
import { parseCaptions } from "./captions.ts";
import { wordsOf } from "./combinations.ts";
import { locateComparisons } from "./comparisons.ts";
import { CAPTION_FILES, type FolderPart, partsOfFolder } from "./folder.node.ts";
import { readImage } from "./image.node.ts";
import type { PictureTask } from "./task.ts";

/** What a finding is about. `record`: a line that cannot be used; `leak-*`: in two parts of the data set; `held-out`: a caption of the task's test. */
export type FindingCode =
  | "record"
  | "no-captions"
  | "no-caption"
  | "picture"
  | "duplicate-picture"
  | "duplicate-id"
  | "leak-picture"
  | "leak-caption"
  | "held-out"
  | "unknown-words";

/** One finding; training should not start with an `error`. `line` is 1-based, 0 when the file has none; `field` is empty when none is meant. */
export interface Finding {
  readonly severity: "error" | "warning";
  readonly code: FindingCode;
  readonly file: string;
  readonly line: number;
  readonly field: string;
  readonly message: string;
}

/** Options of `dataCheck`. With a task, captions are held against its vocabulary and its test split. */
export interface DataCheckOptions {
  readonly task?: PictureTask;
}

interface Place {
  readonly part: FolderPart["name"];
  readonly file: string;
  readonly line: number;
}

/** A picture as a record names it. */
interface Mention {
  readonly path: string;
  readonly file: string;
  readonly line: number;
  readonly field: string;
}

const PICTURE_NAME = /\.(png|jpe?g|webp)$/i;

const at = (place: Place): string => `${place.file}${place.line ? `:${place.line}` : ""}`;

/** Checks one data set; holds hashes and captions, never pixels, of what it has seen. */
class Checker {
  private readonly task: PictureTask | undefined;
  private readonly pictures = new Map<string, Place>();
  private readonly seenPaths = new Map<string, string | undefined>();
  private readonly captions = new Map<string, Place>();

  constructor(task: PictureTask | undefined) {
    this.task = task;
  }

  async *part(part: FolderPart): AsyncGenerator<Finding> {
    const captioned = new Set<string>();
    if (part.captionFile) yield* this.captionFile(part, part.captionFile, captioned);
    for (const file of part.comparisonFiles) yield* this.comparisonFile(part, file, captioned);
    if (!part.captionFile && part.comparisonFiles.length === 0) {
      const message = `has neither ${CAPTION_FILES.join(" or ")} nor comparisons`;
      yield { severity: "error", code: "no-captions", file: part.path, line: 0, field: "", message };
      return;
    }
    for (const entry of await readdir(part.path, { withFileTypes: true, recursive: true })) {
      const path = join(entry.parentPath, entry.name);
      if (!entry.isFile() || !PICTURE_NAME.test(entry.name) || captioned.has(path)) continue;
      const message = `is in no ${part.captionFile ? relative(part.path, part.captionFile) : "comparison"}`;
      yield { severity: "warning", code: "no-caption", file: path, line: 0, field: "", message };
    }
  }

  private async *captionFile(part: FolderPart, file: string, captioned: Set<string>): AsyncGenerator<Finding> {
    const faults: DataError[] = [];
    const entries = parseCaptions(file, await readFile(file, "utf8"), (fault) => faults.push(fault));
    yield* faults.map(recordFinding);
    for (const { fileName, text, line } of entries) {
      const path = join(part.path, fileName);
      captioned.add(path);
      yield* this.caption(part, text, { file, line, field: "text", path });
      yield* this.picture(part, { path, file, line, field: "file_name" }, true);
    }
  }

  private async *comparisonFile(part: FolderPart, file: string, captioned: Set<string>): AsyncGenerator<Finding> {
    const faults: DataError[] = [];
    const located = locateComparisons(file, await readFile(file, "utf8"), (fault) => faults.push(fault));
    yield* faults.map(recordFinding);
    const ids = new Map<string, number>();
    for (const { comparison, line } of located) {
      const key = JSON.stringify([comparison.id, comparison.annotator ?? ""]);
      const before = ids.get(key);
      if (before !== undefined) {
        const message = `"${comparison.id}" already stands on line ${before}`;
        yield { severity: "error", code: "duplicate-id", file, line, field: "id", message };
      }
      ids.set(key, line);
      yield* this.caption(part, comparison.prompt, { file, line, field: "prompt", path: "" });
      for (const name of comparison.generations) {
        const path = join(part.path, name);
        captioned.add(path);
        yield* this.picture(part, { path, file, line, field: "generations" }, false);
      }
    }
  }

  /** One caption: same words in two parts, words outside the vocabulary, and captions of the task's test split. */
  private *caption(part: FolderPart, text: string, mention: Mention): Generator<Finding> {
    const { file, line, field } = mention;
    const key = wordsOf(text).join(" ");
    const before = this.captions.get(key);
    if (!before) {
      this.captions.set(key, { part: part.name, file, line });
    } else if (before.part !== part.name) {
      const message = `"${text}" is also in the ${before.part} part, ${at(before)}`;
      yield { severity: "error", code: "leak-caption", file, line, field, message };
    }
    if (!this.task) return;
    const parsed = this.task.parseCaption(text);
    if (parsed.unknown.length > 0) {
      const message = `${this.task.name} does not know the words ${parsed.unknown.join(", ")}`;
      yield { severity: "warning", code: "unknown-words", file, line, field, message };
    }
    if (part.name !== "test" && parsed.attributes && this.task.splitOf(parsed.attributes) === "test-unseen") {
      const message = `"${text}" belongs to the test of ${this.task.name} and must not be trained on`;
      yield { severity: "error", code: "held-out", file, line, field, message };
    }
  }

  /** One picture: readable, and not the same pixels as another one. `once`: a second mention inside the part is worth a warning. */
  private async *picture(part: FolderPart, mention: Mention, once: boolean): AsyncGenerator<Finding> {
    const { path, file, line, field } = mention;
    const again = this.seenPaths.has(path);
    let hash = this.seenPaths.get(path);
    if (!again) {
      try {
        const image = await readImage(path);
        hash = createHash("sha256").update(`${image.width}x${image.height}:`).update(image.rgb).digest("hex");
      } catch (error) {
        if (!(error instanceof DataError)) throw error;
        yield { severity: "error", code: "picture", file, line, field, message: error.message };
      }
      this.seenPaths.set(path, hash);
    }
    if (hash === undefined) return;
    const before = this.pictures.get(hash);
    if (!before) {
      this.pictures.set(hash, { part: part.name, file, line });
    } else if (before.part !== part.name) {
      const message = `${path} is also in the ${before.part} part, ${at(before)}`;
      yield { severity: "error", code: "leak-picture", file, line, field, message };
    } else if (!again && once) {
      const message = `${path} has the same pixels as the picture of ${at(before)}`;
      yield { severity: "warning", code: "duplicate-picture", file, line, field, message };
    }
  }
}

function recordFinding(fault: DataError): Finding {
  const { file, line, field } = fault;
  const where = `${file}${line ? `:${line}` : ""}${field ? `: ${field}` : ""}: `;
  const message = fault.message.startsWith(where) ? fault.message.slice(where.length) : fault.message;
  return { severity: "error", code: "record", file, line, field, message };
}

/**
 * Checks a data set folder (see `partsOfFolder`) and yields what it finds, file by file: records that cannot be used, pictures that cannot be
 * read, pictures twice, captions or pictures in two parts. DataError only when the folder itself cannot be read.
 */
export async function* dataCheck(folder: string, options: DataCheckOptions = {}): AsyncGenerator<Finding> {
  const checker = new Checker(options.task);
  for (const part of await partsOfFolder(folder)) yield* checker.part(part);
}
