/** Layers of config values laid over each other and checked against a schema: every mistake is told with its file, line and nearest name. */
import { nearestName } from "@refl/models";
import { DataError } from "@refl/tensor";
import * as v from "valibot";
import { type ConfigSource, type ConfigValues, isConfigValues } from "./source.ts";

/** A schema of named values; all config schemas are made of `v.strictObject`. */
export type ConfigSchema = v.GenericSchema;

/** The resolved config that a schema describes. */
export type ConfigOf<Schema extends ConfigSchema> = v.InferOutput<Schema>;

/** What a command's config consists of: its schema and the presets that its `task` and other choices bring. */
export interface ConfigDefinition<Schema extends ConfigSchema = ConfigSchema> {
  /** The command as it is typed, e.g. `train base`. */
  readonly command: string;
  readonly schema: Schema;
  /** Defaults that depend on what the user chose; they lie under everything that the user wrote. */
  readonly preset?: (chosen: ConfigValues) => ConfigValues;
}

/** The flag of a value: its path in kebab case. */
export function flagName(path: readonly string[]): string {
  return path.map((key) => key.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)).join("-");
}

/** The schema inside optional and nullable wrappers. */
export function unwrapSchema(schema: v.GenericSchema): v.GenericSchema {
  let inner: v.GenericSchema = schema;
  while ("wrapped" in inner) inner = inner.wrapped as v.GenericSchema;
  return inner;
}

/** The named entries of an object schema (through its wrappers); `undefined` when it describes something else. */
export function schemaEntries(schema: v.GenericSchema): Readonly<Record<string, v.GenericSchema>> | undefined {
  const inner = unwrapSchema(schema);
  return "entries" in inner ? (inner.entries as Record<string, v.GenericSchema>) : undefined;
}

/** Dotted names of all values that a schema has, e.g. `lora.rank`. */
export function schemaPaths(schema: v.GenericSchema, prefix = ""): string[] {
  const entries = schemaEntries(schema);
  if (!entries) return [];
  return Object.entries(entries).flatMap(([key, entry]) => [
    `${prefix}${key}`,
    ...schemaPaths(entry, `${prefix}${key}.`),
  ]);
}

/** Names alike but for case, `-` and `_` are one name to whoever types them. */
const normalise = (name: string): string => name.toLowerCase().replaceAll(/[-_ ]/g, "");

/** The option nearest to a mistyped key: one of the same name anywhere, else a near one beside it, else a near one anywhere. */
function suggestion(key: string, siblings: readonly string[], paths: readonly string[]): string {
  const wanted = normalise(key);
  const byName = (options: readonly string[]) =>
    new Map(options.map((option) => [normalise(option.split(".").at(-1)!), option]));
  const nearest = (options: ReadonlyMap<string, string>) => options.get(nearestName(wanted, options.keys()) ?? "");
  const everywhere = byName(paths);
  const near = everywhere.get(wanted) ?? nearest(byName(siblings)) ?? nearest(everywhere);
  return near ? `did you mean "${near}"?` : `known here: ${siblings.join(", ")}`;
}

interface Mistake {
  readonly file: string;
  readonly line: number;
  readonly field: string;
  readonly message: string;
}

function unknownKeys(root: v.GenericSchema, source: ConfigSource): Mistake[] {
  const mistakes: Mistake[] = [];
  const walk = (schema: v.GenericSchema, values: ConfigValues, path: readonly string[]): void => {
    const entries = schemaEntries(schema);
    if (!entries) return;
    for (const [key, value] of Object.entries(values)) {
      const here = [...path, key];
      const entry = Object.hasOwn(entries, key) ? entries[key] : undefined;
      if (entry) {
        if (isConfigValues(value)) walk(entry, value, here);
        continue;
      }
      const message = `unknown key; ${suggestion(key, Object.keys(entries), schemaPaths(root))}`;
      mistakes.push({ ...source.locate(here), field: here.join("."), message });
    }
  };
  walk(root, source.values, []);
  return mistakes;
}

function merge(under: ConfigValues, over: ConfigValues): ConfigValues {
  const result: Record<string, unknown> = { ...under };
  for (const [key, value] of Object.entries(over)) {
    const below = result[key];
    result[key] = isConfigValues(value) ? merge(isConfigValues(below) ? below : {}, value) : value;
  }
  return result;
}

function valueAt(values: unknown, path: readonly string[]): unknown {
  return path.reduce<unknown>((inner, key) => (isConfigValues(inner) ? inner[key] : undefined), values);
}

const lowerFirst = (text: string): string => text.charAt(0).toLowerCase() + text.slice(1);

function describeIssue(issue: v.BaseIssue<unknown>, path: readonly string[]): string {
  if (issue.kind === "schema" && issue.received === "undefined")
    return `missing; give it as --${flagName(path)} or in a config file`;
  if (issue.type === "integer") return `expected a whole number, found ${issue.received}`;
  if (issue.expected) return `expected ${issue.expected}, found ${issue.received}`;
  return lowerFirst(issue.message.replace(/^Invalid \w+: /, ""));
}

function refuse(mistakes: readonly Mistake[]): never {
  const first = mistakes[0]!;
  const others = mistakes
    .slice(1)
    .map(({ file, line, field, message }) => `${file}${line ? `:${line}` : ""}: ${field}: ${message}`);
  throw new DataError(first.file, first.line, first.field, [first.message, ...others].join("; "));
}

/**
 * The complete config of a command: schema defaults, under them nothing, over them the preset, then the sources in their order.
 * Throws one `DataError` that names all unknown keys, or all unfit values, with file, line and nearest name.
 */
export function resolveConfig<Schema extends ConfigSchema>(
  definition: ConfigDefinition<Schema>,
  sources: readonly ConfigSource[],
): ConfigOf<Schema> {
  const unknown = sources.flatMap((source) => unknownKeys(definition.schema, source));
  if (unknown.length) refuse(unknown);
  const chosen = sources.reduce<ConfigValues>((values, source) => merge(values, source.values), {});
  const values = merge(definition.preset?.(chosen) ?? {}, chosen);
  const result = v.safeParse(definition.schema, values);
  if (result.success) return result.output;
  refuse(
    result.issues.map((issue) => {
      const path = (issue.path ?? []).map((item) => String(item.key));
      const owner = sources.findLast((source) => valueAt(source.values, path) !== undefined);
      const place = owner?.locate(path) ?? { file: `config of ${definition.command}`, line: 0 };
      return { ...place, field: path.join("."), message: describeIssue(issue, path) };
    }),
  );
}
