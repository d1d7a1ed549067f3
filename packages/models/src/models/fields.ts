/** Field types that model configs share, and the check of fields that are known but supported at one value only. */
import { DataError } from "@refl/tensor";
import * as v from "valibot";
import type { JsonObject } from "../formats/json.ts";

export const count = v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(1_000_000));
export const epsilon = v.pipe(v.number(), v.gtValue(0), v.ltValue(1));
export const probability = v.pipe(v.number(), v.minValue(0), v.ltValue(1));

/**
 * Refuses fields of `neutral` whose value in `config` is none of those at which they change nothing here.
 * @throws DataError naming file and field.
 */
export function checkNeutral(
  config: Readonly<Record<string, unknown>>,
  neutral: Readonly<Record<string, readonly unknown[]>>,
  file: string,
): void {
  for (const [field, allowed] of Object.entries(neutral)) {
    if (!Object.hasOwn(config, field) || allowed.includes(config[field])) continue;
    const listed = allowed.map((value) => JSON.stringify(value)).join(" or ");
    throw new DataError(file, 0, field, `${JSON.stringify(config[field])} is not supported, only ${listed}`);
  }
}

/** A config as JSON: fields that are undefined are left out. */
export function jsonOf(config: object): JsonObject {
  return JSON.parse(JSON.stringify(config)) as JsonObject;
}
