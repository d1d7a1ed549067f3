/** What evaluations read on Node: rankings with their pictures, and models' pictures or scores. */
import { promises as fs } from "node:fs";
import { basename, dirname, extname, join } from "node:path";
import { DataError } from "@refl/tensor";
import { type Comparison, parseComparisons } from "../data/comparisons.ts";
import { decodePixels } from "../data/image.node.ts";
import { lineOfField, parseJsonRecords } from "../data/json-lines.ts";
import { parsePrompts } from "../data/prompts.ts";
import { type PromptScores, parseScores } from "../data/scores-file.ts";
import type { ModelPictures } from "../jobs/evaluate-models.ts";
import type { RankedFiles } from "../jobs/evaluate-rankings.ts";
import { readBytes, readText, storageError } from "./files.node.ts";
import { pictureFiles, scoredInputs } from "./pictures.node.ts";

/** Rankings of a file, and their pictures in `images`, by default beside it. Throws `DataError` naming file and line, `StorageError`. */
export async function readRankedFiles(
  file: string,
  images = dirname(file),
): Promise<{ readonly comparisons: Comparison[]; readonly files: RankedFiles }> {
  const read = async (path: string) => decodePixels(await readBytes(path), path);
  const comparisons = parseComparisons(file, await readText(file));
  return { comparisons, files: { pathOf: (name) => join(images, name), read } };
}

/** Scores of a file. Throws `DataError` naming file and line, `StorageError`. */
export const readScores = async (file: string): Promise<PromptScores[]> => parseScores(file, await readText(file));

/** The prompts of a file. Throws `DataError` naming file and line, `StorageError`. */
export const readPromptFile = async (file: string): Promise<string[]> => parsePrompts(file, await readText(file));

/** Prompts by id, from records of `id` and `prompt`. Throws `DataError` naming file and line. */
async function readPrompts(file: string): Promise<ReadonlyMap<string, string>> {
  const prompts = new Map<string, string>();
  for (const record of parseJsonRecords(file, await readText(file))) {
    const { id, prompt } = (record.value ?? {}) as Record<string, unknown>;
    for (const [field, value] of Object.entries({ id, prompt }))
      if (typeof value !== "string" || value === "")
        throw new DataError(file, lineOfField(record, field), field, "must be a text that is not empty");
    prompts.set(id as string, prompt as string);
  }
  return prompts;
}

/** The prompt of a picture called `<id>_<k>.png`. */
function promptOf(path: string, prompts: ReadonlyMap<string, string>, file: string): string {
  const name = basename(path, extname(path));
  const id = name.slice(0, Math.max(0, name.lastIndexOf("_")));
  const prompt = prompts.get(id);
  if (prompt === undefined)
    throw new DataError(
      path,
      0,
      "prompt",
      `${file} has no prompt with the id ${JSON.stringify(id)}, as its name begins`,
    );
  return prompt;
}

/** `name=path`, or a path, whose last part without ending is the name. A path with `=` in it is written with a name. */
function namedPath(text: string): { readonly name: string; readonly path: string } {
  const at = text.indexOf("=");
  if (at > 0) return { name: text.slice(0, at), path: text.slice(at + 1) };
  return { name: basename(text, extname(text)), path: text };
}

/**
 * Models as a command line names them: folders of pictures, or files of scores. Pictures have the prompts of the file `prompts`, else their own.
 * Throws `DataError` for broken files and pictures without prompt, `StorageError` for what cannot be read.
 */
export async function readModels(texts: readonly string[], prompts: string | undefined): Promise<ModelPictures[]> {
  const byId = prompts === undefined ? null : await readPrompts(prompts);
  const models: ModelPictures[] = [];
  for (const text of texts) {
    const { name, path } = namedPath(text);
    const found = await fs.stat(path).catch((cause) => Promise.reject(storageError(path, cause)));
    if (!found.isDirectory()) {
      models.push({ name, scores: await readScores(path) });
      continue;
    }
    const files = await pictureFiles([path]);
    if (!files.length) throw new DataError(path, 0, "models", "holds no picture");
    if (!byId) {
      models.push({ name, inputs: await scoredInputs(files, []) });
      continue;
    }
    const inputs = await scoredInputs(files, null);
    models.push({
      name,
      inputs: inputs.map((input) => ({ ...input, prompts: [promptOf(input.file, byId, prompts!)] })),
    });
  }
  return models;
}
