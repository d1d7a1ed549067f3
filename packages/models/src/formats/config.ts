/** Config objects checked against a valibot schema, with errors that name the file, the field and the nearest known key. */
import { DataError } from "@refl/tensor";
import * as v from "valibot";
import { isJsonObject } from "./json.ts";
import { nearestName } from "./names.ts";

/** Keys that begin with `_` are diffusers' and transformers' bookkeeping (`_class_name`, `_diffusers_version`, `_name_or_path`). */
export function isBookkeepingKey(key: string): boolean {
  return key.startsWith("_");
}

/**
 * Checks `value` against `schema` and returns it with the schema's defaults filled in. Top-level keys for which `ignore` is true are left
 * out first (by default the bookkeeping keys); with `v.strictObject` any other unknown key is an error.
 * @throws DataError with file, field and what would fit.
 */
export function parseConfig<const TSchema extends v.GenericSchema>(
  schema: TSchema,
  value: unknown,
  file: string,
  ignore: (key: string) => boolean = isBookkeepingKey,
): v.InferOutput<TSchema> {
  if (!isJsonObject(value)) throw new DataError(file, 0, "", "must be a JSON object");
  const kept = Object.fromEntries(Object.entries(value).filter(([key]) => !ignore(key)));
  const result = v.safeParse(schema, kept);
  if (result.success) return result.output;
  const issue = result.issues[0];
  const field = v.getDotPath(issue) ?? "";
  if (issue.type === "strict_object" && issue.expected === "never" && issue.path) {
    const key = String(issue.path.at(-1)?.key);
    const known = "entries" in schema && isJsonObject(schema.entries) ? Object.keys(schema.entries) : [];
    const nearest = nearestName(key, known);
    throw new DataError(file, 0, field, `unknown key${nearest ? `; did you mean ${JSON.stringify(nearest)}?` : ""}`);
  }
  if (issue.received === "undefined") throw new DataError(file, 0, field, "is missing");
  throw new DataError(file, 0, field, issue.message);
}
