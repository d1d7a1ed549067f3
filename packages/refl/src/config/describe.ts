/** The options of a config schema as a flat list, from which flags, help and documentation are made. */
import * as v from "valibot";
import { flagName, schemaEntries, unwrapSchema } from "./resolve.ts";

export { flagName };

/** One value that can be set. */
export interface ConfigOption {
  /** Keys to it; `["lora", "rank"]` is `lora.rank` in files and `--lora-rank` as a flag. */
  readonly path: readonly string[];
  readonly kind: "number" | "boolean" | "string" | "choice" | "list";
  /** The names to choose from, for kind `choice`. */
  readonly choices: readonly string[];
  /** Default of the schema, `undefined` when there is none; a task's preset may differ. */
  readonly default: unknown;
  /** Whether it belongs to something that is off as long as none of its values is given, as `lora` is. */
  readonly off: boolean;
  readonly description: string;
}

function descriptionOf(schema: v.GenericSchema): string {
  let inner: v.GenericSchema = schema;
  for (;;) {
    const description = v.getDescription(inner);
    if (description !== undefined) return description;
    if (!("wrapped" in inner)) return "";
    inner = inner.wrapped as v.GenericSchema;
  }
}

function defaultOf(schema: v.GenericSchema): unknown {
  return "default" in schema && typeof schema.default !== "function" ? schema.default : undefined;
}

/** All options of a schema, nested ones by their path, in the order in which they stand in it. */
export function describeConfig(schema: v.GenericSchema, path: readonly string[] = [], off = false): ConfigOption[] {
  const entries = schemaEntries(schema);
  if (!entries) return [];
  return Object.entries(entries).flatMap(([key, entry]): ConfigOption[] => {
    const here = [...path, key];
    if (schemaEntries(entry)) return describeConfig(entry, here, off || defaultOf(entry) === null);
    const inner = unwrapSchema(entry);
    const choices = inner.type === "picklist" && "options" in inner ? (inner.options as readonly string[]) : [];
    const kind =
      inner.type === "number" || inner.type === "boolean"
        ? inner.type
        : inner.type === "array"
          ? "list"
          : choices.length
            ? "choice"
            : "string";
    return [
      {
        path: here,
        kind,
        choices,
        default: defaultOf(entry),
        off,
        description: descriptionOf(entry),
      },
    ];
  });
}

function cell(value: unknown): string {
  if (value === undefined) return "";
  return `\`${typeof value === "string" ? value : JSON.stringify(value)}\``;
}

/** A Markdown table of a schema's options. */
export function configTable(schema: v.GenericSchema): string {
  const rows = describeConfig(schema).map(({ path, kind, choices, default: value, off, description }) => {
    const kinds = kind === "choice" ? choices.map((name) => `\`${name}\``).join(", ") : kind;
    return `| \`${path.join(".")}\` | \`--${flagName(path)}\` | ${kinds} | ${off ? "off; on: " : ""}${cell(value)} | ${description} |`;
  });
  return ["| key | flag | values | default | meaning |", "| --- | --- | --- | --- | --- |", ...rows].join("\n");
}
