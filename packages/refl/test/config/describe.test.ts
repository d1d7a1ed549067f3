/** The options of every command are described, and docs/config.md says what the schemas say (`vitest -u` writes it anew). */
import { describe, expect, it } from "vitest";
import {
  type ConfigDefinition,
  configTable,
  demoConfig,
  describeConfig,
  evaluateConfig,
  evaluateModelsConfig,
  evaluateRankingsConfig,
  flagName,
  pullConfig,
  rankConfig,
  sampleConfig,
  scoreConfig,
  trainBaseConfig,
  trainReflConfig,
  trainRewardConfig,
} from "../../src/config/index.ts";

const definitions: readonly ConfigDefinition[] = [
  demoConfig,
  trainBaseConfig,
  trainRewardConfig,
  trainReflConfig,
  sampleConfig,
  scoreConfig,
  rankConfig,
  evaluateConfig,
  evaluateRankingsConfig,
  evaluateModelsConfig,
  pullConfig,
];

describe.each(definitions)("$command", ({ schema }) => {
  const options = describeConfig(schema);

  it("describes every option in one line", () => {
    for (const { path, description } of options) expect(description, path.join(".")).toMatch(/^[A-Z`].*[^.]$/);
  });

  it("has a flag of its own for every option", () => {
    const flags = options.map(({ path }) => flagName(path));
    expect(new Set(flags).size).toBe(flags.length);
  });
});

it("tells kinds, choices and defaults", () => {
  const find = (name: string) => describeConfig(trainReflConfig.schema).find(({ path }) => path.join(".") === name);
  expect(find("lora.rank")).toMatchObject({ kind: "number", default: 8 });
  expect(find("variant")).toMatchObject({ kind: "choice", choices: ["paper", "repository"], default: "paper" });
  expect(find("control")).toMatchObject({ kind: "boolean", default: true });
  expect(describeConfig(sampleConfig.schema).find(({ path }) => path[0] === "prompts")?.kind).toBe("list");
  expect(flagName(["earlyStop", "everySteps"])).toBe("early-stop-every-steps");
});

it("is what docs/config.md says", async () => {
  const intro = [
    "# Config values",
    "",
    "Every command takes its values from a YAML or JSON file (`--config FILE`), from `--set name=value` (dots between nested names, the value",
    "is YAML), and from a flag of each value's own; later ones go over earlier ones, and flags over the file. An unknown name is an error that",
    "tells the file, the line and the nearest known name. `lora` and `earlyStop` are switched off by `--set lora=null`. The resolved config, every value",
    "of it, is written into the run's folder as `config.json`, which is itself a valid `--config` file.",
    "",
    "Defaults are those of `emoji32`; `shapes16` has smaller ones.",
  ].join("\n");
  const sections = definitions.map(({ command, schema }) => `## \`refl ${command}\`\n\n${configTable(schema)}`);
  await expect([intro, ...sections].join("\n\n") + "\n").toMatchFileSnapshot("../../../../docs/config.md");
});
