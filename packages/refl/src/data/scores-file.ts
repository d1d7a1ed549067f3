/** Scores that were written before: as `refl score` writes them, or a list of rewards per prompt as ImageReward's test scripts do. */
import { DataError } from "@refl/tensor";
import { type JsonRecord, lineOfField, parseJsonRecords } from "./json-lines.ts";

/** Scores of one prompt's pictures in their order. */
export interface PromptScores {
  /** The item's id where the file has one. */
  readonly id: string | null;
  readonly prompt: string;
  readonly rewards: readonly number[];
}

const isNumber = (value: unknown): value is number => typeof value === "number" && Number.isFinite(value);

/** A record `{id?, prompt, rewards}`, or `{file, prompt, score}` as a list of one. */
function readRecord(file: string, record: JsonRecord): PromptScores {
  const { value, line } = record;
  const refuse = (field: string, message: string): never => {
    throw new DataError(file, field ? lineOfField(record, field) : line, field, message);
  };
  if (typeof value !== "object" || value === null || Array.isArray(value))
    return refuse("", "must be an object with prompt and rewards, or with file, prompt and score");
  const { id, prompt = "", rewards, score } = value as Record<string, unknown>;
  if (typeof prompt !== "string") return refuse("prompt", "must be a text");
  if (rewards === undefined && isNumber(score)) return { id: null, prompt, rewards: [score] };
  if (!Array.isArray(rewards) || rewards.length === 0 || !rewards.every(isNumber))
    return refuse("rewards", "must be a list of finite numbers, one for each picture");
  if (id !== undefined && typeof id !== "string") return refuse("id", "must be a text");
  return { id: id ?? null, prompt, rewards };
}

/** Reads scores, a JSON array or JSONL; records without id of one prompt are joined. DataError names file, line and field of the first fault. */
export function parseScores(file: string, text: string): PromptScores[] {
  const byKey = new Map<string, { id: string | null; prompt: string; rewards: number[] }>();
  for (const [i, record] of parseJsonRecords(file, text).entries()) {
    const { id, prompt, rewards } = readRecord(file, record);
    const key = id === null ? `prompt ${prompt}` : `record ${i}`;
    const found = byKey.get(key);
    if (found) found.rewards.push(...rewards);
    else byKey.set(key, { id, prompt, rewards: [...rewards] });
  }
  if (byKey.size === 0) throw new DataError(file, 0, "", "has no scores");
  return [...byKey.values()];
}
