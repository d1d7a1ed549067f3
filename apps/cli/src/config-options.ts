/** Flags made from a config schema, and the layers of values that a command line gives: resumed run, config file, flags. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import {
  type ConfigDefinition,
  type ConfigFlag,
  type ConfigOf,
  type ConfigOption,
  type ConfigSchema,
  type ConfigSource,
  describeConfig,
  flagName,
  flagSource,
  parseAssignment,
  parseConfig,
  plainSource,
  resolveConfig,
} from "@refl/refl";
import { readText, storageError } from "@refl/refl/node";
import { DataError } from "@refl/tensor";
import { type Command, Option } from "commander";

/** Collects what the user set, in the order of the command line. */
export interface ConfigFlags {
  readonly flags: ConfigFlag[];
  config: string | undefined;
  resume: string | undefined;
}

const PLACEHOLDERS: Readonly<Record<ConfigOption["kind"], string>> = {
  number: "<number>",
  boolean: "",
  string: "<text>",
  choice: "<name>",
  list: "<text>",
};

function readValue(option: ConfigOption, text: string): unknown {
  // What is no number stays text: the schema then tells what it expected and what it found.
  if (option.kind === "number" && text.trim() !== "" && !Number.isNaN(Number(text))) return Number(text);
  return text;
}

function describe(option: ConfigOption): string {
  const choices = option.choices.length ? `: ${option.choices.join(", ")}` : "";
  const value = JSON.stringify(option.default);
  const initial =
    option.default === undefined || option.kind === "list"
      ? ""
      : option.off
        ? ` (off by default; on: ${value})`
        : ` (default: ${value})`;
  return `${option.description}${choices}${initial}`.replaceAll("`", "");
}

/** Adds `--config`, `--set` and one flag per config value to a command; with `resume` also `--resume`. */
export function addConfigOptions(
  command: Command,
  definition: ConfigDefinition,
  options: { resume?: boolean; positional?: readonly string[] } = {},
): ConfigFlags {
  const collected: ConfigFlags = { flags: [], config: undefined, resume: undefined };
  command.option("--config <file>", "YAML or JSON file of values; flags go over it");
  command.on("option:config", (file: string) => {
    collected.config = file;
  });
  command.option("--set <name=value>", "set any value, with dots between nested names; may be given often");
  command.on("option:set", (text: string) => collected.flags.push(parseAssignment(text)));
  if (options.resume) {
    command.option("--resume <folder>", "go on with a run's folder: its config, from its last checkpoint");
    command.on("option:resume", (folder: string) => {
      collected.resume = folder;
    });
  }
  for (const option of describeConfig(definition.schema)) {
    if (options.positional?.includes(option.path.join("."))) continue;
    addOption(command, option, collected.flags);
  }
  return collected;
}

function addOption(command: Command, option: ConfigOption, flags: ConfigFlag[]): void {
  const name = flagName(option.path);
  if (option.kind === "boolean") {
    for (const [flag, value] of [
      [`--${name}`, true],
      [`--no-${name}`, false],
    ] as const) {
      // Of the two, the help shows the one that changes something.
      const help = value ? describe(option) : `switches off: ${option.description}`;
      command.addOption(new Option(flag, help).hideHelp(option.default === value));
      command.on(`option:${flag.slice(2)}`, () => flags.push({ path: option.path, value, flag }));
    }
    return;
  }
  const flag = `--${name}`;
  const list: unknown[] = [];
  command.option(`${flag} ${PLACEHOLDERS[option.kind]}`, describe(option));
  command.on(`option:${name}`, (text: string) => {
    const value = readValue(option, text);
    if (option.kind === "list") list.push(value);
    flags.push({ path: option.path, value: option.kind === "list" ? [...list] : value, flag: `${flag} ${text}` });
  });
}

async function readSource(file: string): Promise<ConfigSource> {
  try {
    return parseConfig(await readFile(file, "utf8"), file);
  } catch (cause) {
    throw storageError(file, cause);
  }
}

/** Values from elsewhere than flags and files. */
export interface OtherSources {
  /** Layers under the config file, the lowest first. */
  readonly under?: readonly ConfigSource[];
  /** Values of positional arguments, over everything else. */
  readonly over?: Readonly<Record<string, unknown>>;
}

/**
 * The resolved config of a command line: the resumed run's own config or `under`, over it the config file, over it the flags, over them
 * the positional arguments. Throws `DataError` or `StorageError`.
 */
export async function readConfig<Schema extends ConfigSchema>(
  definition: ConfigDefinition<Schema>,
  collected: ConfigFlags,
  { under = [], over = {} }: OtherSources = {},
): Promise<ConfigOf<Schema>> {
  const sources: ConfigSource[] = [...under];
  if (collected.resume !== undefined) {
    const file = join(collected.resume, "config.json");
    try {
      sources.push(parseConfig(await readText(file), file));
    } catch (cause) {
      if (cause instanceof DataError) throw cause;
      throw new DataError(collected.resume, 0, "config.json", "not a run folder: it has no readable config.json");
    }
  }
  if (collected.config !== undefined) sources.push(await readSource(collected.config));
  sources.push(...collected.flags.map(flagSource));
  if (Object.keys(over).length) sources.push(plainSource(over, "command line"));
  return resolveConfig(definition, sources);
}
