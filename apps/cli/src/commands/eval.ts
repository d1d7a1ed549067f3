/** `refl eval`: both judges' view of a model's pictures; `eval rankings` and `eval models`: a scorer beside people's rankings. */
import {
  type EvaluateConfig,
  type EvaluateModelsConfig,
  type EvaluateRankingsConfig,
  type EvaluationResult,
  evaluateConfig,
  evaluateModels,
  evaluateModelsConfig,
  evaluateRankings,
  evaluateRankingsConfig,
  evaluationTables,
  type ModelPictures,
  modelsTable,
  type Run,
  rankingsTable,
  runEvaluate,
  scoreComparisons,
  scoreModels,
  scoresOfComparisons,
  taskNamed,
  tasteNamed,
} from "@refl/refl";
import { readModels, readRankedFiles, readScores, writeFileAtomic } from "@refl/refl/node";
import { DataError } from "@refl/tensor";
import type { Command } from "commander";
import { addConfigOptions, readConfig } from "../config-options.ts";
import { drive } from "../drive.ts";
import { jobContext, onDevice, withoutResult } from "../job.ts";
import type { CommandSlot } from "../program.ts";

/** Seed of the bootstrap's resamples: the same numbers twice. */
const SEED = 0;

/** Tells a result, and writes it with its config where the config names a file. */
async function* finish<Result extends object>(
  result: Result,
  config: { readonly out?: string | undefined },
): Run<void> {
  if (config.out !== undefined) {
    await writeFileAtomic(config.out, `${JSON.stringify({ ...result, config }, null, 2)}\n`);
    yield { type: "note", message: `result: ${config.out}` };
  }
  yield { type: "result", summary: result };
}

function evaluate(config: EvaluateConfig, signal: AbortSignal): Run<EvaluationResult> {
  return onDevice(async function* (device) {
    const result = yield* withoutResult(runEvaluate(config, jobContext(device, null, signal)));
    yield* evaluationTables(result.judged, result.wordOrder);
    yield* finish(result, config);
    return result;
  }, config.tune);
}

async function* rankings(config: EvaluateRankingsConfig, signal: AbortSignal): Run<void> {
  const { comparisons, files } = await readRankedFiles(config.comparisons, config.images);
  const { scores: file, saveScores } = config;
  const scores =
    file === undefined
      ? yield* onDevice(
          (device) => scoreComparisons(config, comparisons, files, jobContext(device, null, signal)),
          config.tune,
        )
      : scoresOfComparisons(file, await readScores(file), comparisons);
  if (saveScores !== undefined) {
    const records = comparisons.map(({ id, prompt }, i) => JSON.stringify({ id, prompt, rewards: scores[i] }));
    await writeFileAtomic(saveScores, `[\n${records.join(",\n")}\n]\n`);
    yield { type: "note", message: `scores: ${saveScores}` };
  }
  const result = evaluateRankings(comparisons, scores, { ...config, seed: SEED });
  yield rankingsTable(result);
  yield* finish(result, config);
}

async function* models(
  config: EvaluateModelsConfig,
  pictures: readonly ModelPictures[],
  signal: AbortSignal,
): Run<void> {
  const scores = pictures.some((model) => "inputs" in model)
    ? yield* onDevice((device) => scoreModels(config, pictures, jobContext(device, null, signal)), config.tune)
    : yield* scoreModels(config, pictures, null);
  const human = config.humanRanks?.split(",").map(Number) ?? null;
  const result = evaluateModels(scores, human, { ...config, seed: SEED });
  yield modelsTable(result);
  yield* finish(result, config);
}

function addRankings(parent: Command, act: CommandSlot["act"]): void {
  const command = parent
    .command("rankings")
    .description("measure how a scorer agrees with people's rankings of pictures")
    .argument("[comparisons]", "rankings in ImageReward's form, JSON or JSONL");
  const flags = addConfigOptions(command, evaluateRankingsConfig, { positional: ["comparisons"] });
  command.action((comparisons: string | undefined) =>
    act(async (context) => {
      const over = comparisons === undefined ? {} : { comparisons };
      const config = await readConfig(evaluateRankingsConfig, flags, { over });
      if (config.model === undefined && config.scores === undefined)
        throw new DataError(
          "eval rankings",
          0,
          "model",
          "missing; name the scorer with --model, or scores with --scores",
        );
      await drive(context, (signal) => rankings(config, signal));
      return undefined;
    }),
  );
}

function addModels(parent: Command, act: CommandSlot["act"]): void {
  const command = parent
    .command("models")
    .description("rank text-to-image models by the mean score of their pictures")
    .argument("[models...]", "folders of pictures or files of scores, as path or name=path");
  const flags = addConfigOptions(command, evaluateModelsConfig, { positional: ["models"] });
  command.action((named: string[]) =>
    act(async (context) => {
      const config = await readConfig(evaluateModelsConfig, flags, { over: named.length ? { models: named } : {} });
      if (!config.models.length)
        throw new DataError("eval models", 0, "models", "give at least one folder of pictures or file of scores");
      const pictures = await readModels(config.models, config.prompts);
      if (config.model === undefined && pictures.some((model) => "inputs" in model))
        throw new DataError("eval models", 0, "model", "missing; name the scorer of the pictures with --model");
      await drive(context, (signal) => models(config, pictures, signal));
      return undefined;
    }),
  );
}

/** What `eval` does by itself. It is a command of its own, since commander takes flags behind a subcommand for the parent's where both have them. */
function addJudge(parent: Command, act: CommandSlot["act"]): void {
  const command = parent
    .command("judge", { isDefault: true })
    .description("judge a model's pictures for held-out prompts: what eval does by itself");
  const flags = addConfigOptions(command, evaluateConfig);
  command.action(() =>
    act(async (context) => {
      const config = await readConfig(evaluateConfig, flags);
      tasteNamed(config.taste, taskNamed(config.task));
      await drive(context, (signal) => evaluate(config, signal));
      return undefined;
    }),
  );
}

/** Adds the commands. */
export function addEvalCommand({ parent, act }: CommandSlot): void {
  const command = parent.command("eval").description("judge a model's pictures, or a scorer beside people's rankings");
  addJudge(command, act);
  addRankings(command, act);
  addModels(command, act);
}
