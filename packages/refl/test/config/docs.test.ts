/** docs/training.md has every value of the trainers with its defaults, and the recipes of the shipped models (`vitest -u` writes its tables anew). */
import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import {
  type ConfigDefinition,
  describeConfig,
  plainSource,
  resolveConfig,
  TASK_NAMES,
  trainBaseConfig,
  trainReflConfig,
  trainRewardConfig,
} from "../../src/config/index.ts";
import { SHIP_RECIPES } from "../../src/recipes/ship.ts";

const file = new URL("../../../../docs/training.md", import.meta.url);
const text = readFileSync(file, "utf8");

const definitions: readonly ConfigDefinition[] = [trainBaseConfig, trainRewardConfig, trainReflConfig];

const cell = (value: unknown): string => (value === undefined ? "" : `\`${value}\``);

const tableOf = (header: readonly string[], rows: readonly (readonly string[])[]): string =>
  [header, header.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`).join("\n");

/** The cell of the value at a path; values inside what is off by default are told with the schema's own default. */
function valueCell(config: unknown, path: readonly string[], otherwise: unknown): string {
  let value = config;
  for (const key of path) {
    if (value === null) return `off; on: ${cell(otherwise)}`;
    value = (value as Readonly<Record<string, unknown>> | undefined)?.[key];
  }
  return cell(value);
}

function valuesTable(definition: ConfigDefinition): string {
  const required = definition === trainReflConfig ? { reward: "a folder" } : {};
  const configs = TASK_NAMES.map((task) => resolveConfig(definition, [plainSource({ task, ...required }, "test")]));
  const rows = describeConfig(definition.schema)
    .filter(({ path }) => path[0] !== "task")
    .map(({ path, default: own, description }) => {
      const values = configs.map((config) => (path[0]! in required ? "required" : valueCell(config, path, own)));
      return [`\`${path.join(".")}\``, ...values, description];
    });
  return tableOf(["key", ...TASK_NAMES, "meaning"], rows);
}

function recipesTable(): string {
  const rows = Object.entries(SHIP_RECIPES).flatMap(([task, recipe]) =>
    (["base", "blip", "classifier"] as const).map((model) => {
      const { steps, batchSize, lr } = recipe[model];
      return [`\`${task}/${model}\``, ...[recipe.seed, steps, batchSize, lr].map(String)];
    }),
  );
  return tableOf(["model", "seed", "steps", "pictures per step", "learning rate"], rows);
}

it("docs/training.md has the tables of values and recipes", async () => {
  const tables = new Map(definitions.map((definition) => [`values: ${definition.command}`, valuesTable(definition)]));
  tables.set("recipes", recipesTable());
  let expected = text;
  for (const [name, table] of tables) {
    const section = new RegExp(`(<!-- ${name} -->\n)[\\s\\S]*?(<!-- end -->)`);
    expect(text, name).toMatch(section);
    expected = expected.replace(section, (_, open: string, close: string) => `${open}\n${table}\n\n${close}`);
  }
  await expect(expected).toMatchFileSnapshot(file.pathname);
});
