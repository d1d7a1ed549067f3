/** Opens the tokenizer of a model folder, of whichever kind its files say. */
import { DataError } from "@refl/tensor";
import { type ModelFolder, subfolder } from "../formats/folder.ts";
import { isJsonObject } from "../formats/json.ts";
import { BertTokenizer } from "./bert-tokenizer.ts";
import { CLIPTokenizer } from "./clip-tokenizer.ts";
import { readTokenizerConfigs } from "./files.ts";
import type { TextCleanup } from "./text-cleanup.ts";
import type { Tokenizer } from "./tokenizer.ts";
import { WordTokenizer } from "./word-tokenizer.ts";

export interface LoadTokenizerOptions {
  /** Subfolder, `""` for the folder itself. Default `tokenizer`. */
  readonly path?: string;
  /** Length limit in tokens instead of the config's. A word tokenizer keeps its own. */
  readonly maxLength?: number;
  /** How CLIP's tokenizer tidies a text. Default `nfc`. */
  readonly cleanup?: TextCleanup;
}

/** Classes of `transformers` that one of the tokenizers here stands for. */
export const TOKENIZER_CLASSES = [
  "CLIPTokenizer",
  "CLIPTokenizerFast",
  "BertTokenizer",
  "BertTokenizerFast",
  "PreTrainedTokenizerFast",
  "TokenizersBackend",
] as const;

/**
 * Reads the tokenizer of a diffusers or transformers folder: `vocab.json` and `merges.txt` (CLIP), `vocab.txt` (BERT), or `tokenizer.json`.
 * @throws CheckpointError for missing or unreadable files; DataError naming file and field for a tokenizer of another kind
 */
export async function loadTokenizer(folder: ModelFolder, options: LoadTokenizerOptions = {}): Promise<Tokenizer> {
  const { path = "tokenizer", maxLength, cleanup } = options;
  const place = path ? subfolder(folder, path) : folder;
  const limit = maxLength === undefined ? {} : { maxLength };
  const kind = await kindOf(place);
  switch (kind) {
    case "CLIP":
      return CLIPTokenizer.fromFolder(place, { ...limit, ...(cleanup === undefined ? {} : { cleanup }) });
    case "BERT":
      return BertTokenizer.fromFolder(place, limit);
    case "words":
      return WordTokenizer.fromJson(await place.readJson("tokenizer.json"), `${place.name}/tokenizer.json`);
  }
}

async function kindOf(folder: ModelFolder): Promise<"CLIP" | "BERT" | "words"> {
  const { config } = await readTokenizerConfigs(folder);
  const name = config["tokenizer_class"];
  if (typeof name === "string") {
    if (name.startsWith("CLIP")) return "CLIP";
    if (name.startsWith("Bert")) return "BERT";
    if (!TOKENIZER_CLASSES.some((known) => known === name)) {
      const file = `${folder.name}/tokenizer_config.json`;
      throw new DataError(file, 0, "tokenizer_class", `${name} is not supported, only ${TOKENIZER_CLASSES.join(", ")}`);
    }
  }
  if (await folder.exists("vocab.txt")) return "BERT";
  if ((await folder.exists("vocab.json")) && (await folder.exists("merges.txt"))) return "CLIP";
  const { model } = await folder.readJson("tokenizer.json");
  const type = isJsonObject(model) ? model["type"] : undefined;
  return type === "BPE" ? "CLIP" : type === "WordPiece" ? "BERT" : "words";
}
