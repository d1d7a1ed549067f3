/** `refl train base|reward|refl`: each trains in a run folder of its own. */
import {
  dryRun,
  runTrainBase,
  runTrainRefl,
  runTrainReward,
  type StageName,
  type Training,
  taskNamed,
  tasteNamed,
  trainBaseConfig,
  trainReflConfig,
  trainRewardConfig,
} from "@refl/refl";
import { folderExamples, readPromptFile, readRankings } from "@refl/refl/node";
import type { Command } from "commander";
import { addConfigOptions, type ConfigFlags, readConfig } from "../config-options.ts";
import { type CommandContext, drive } from "../drive.ts";
import { jobContext, onDevice, type ResumedRun, recordedJob, withResult } from "../job.ts";
import type { CommandSlot } from "../program.ts";

/** The training part of a folder of own pictures, brought to a size when it is known; `undefined` without a folder. */
const ownExamples = (folder: string | undefined) => (folder === undefined ? undefined : folderExamples(folder));

/** The run that `--resume` names; its checkpoints count the steps of `stage`. */
const resumedRun = ({ resume }: ConfigFlags, stage: StageName): ResumedRun | undefined =>
  resume === undefined ? undefined : { folder: resume, stage };

/** Adds `--dry-run`; the returned function says whether it was given. */
function dryRunOption(command: Command): () => boolean {
  command.option("--dry-run", "tell what the training would need and take, run nothing and leave nothing behind");
  return () => command.opts()["dryRun"] === true;
}

const tellDryRun = async (context: CommandContext, training: Training): Promise<undefined> => {
  await drive(context, (signal) =>
    onDevice((device) => dryRun(training, jobContext(device, null, signal)), training.config.tune),
  );
  return undefined;
};

function addBase(parent: Command, act: CommandSlot["act"]): void {
  const command = parent.command("base").description("train a text-to-image model on captioned pictures");
  const flags = addConfigOptions(command, trainBaseConfig, { resume: true });
  const isDryRun = dryRunOption(command);
  command.action(() =>
    act(async (context) => {
      const config = await readConfig(trainBaseConfig, flags);
      const examples = (await ownExamples(config.data))?.(taskNamed(config.task).size);
      if (isDryRun()) return tellDryRun(context, { kind: "base", config, ...(examples ? { examples } : {}) });
      await drive(context, (signal) =>
        recordedJob(config, resumedRun(flags, "base"), signal, (job, { resumed }) =>
          withResult(runTrainBase(config, job, { resume: resumed, ...(examples ? { examples } : {}) })),
        ),
      );
      return undefined;
    }),
  );
}

function addReward(parent: Command, act: CommandSlot["act"]): void {
  const command = parent.command("reward").description("train a reward model on ranked pictures");
  const flags = addConfigOptions(command, trainRewardConfig, { resume: true });
  const isDryRun = dryRunOption(command);
  command.action(() =>
    act(async (context) => {
      const config = await readConfig(trainRewardConfig, flags);
      const task = taskNamed(config.task);
      tasteNamed(config.taste, task);
      const rankings = config.comparisons === undefined ? undefined : await readRankings(config.comparisons, task.size);
      if (isDryRun()) return tellDryRun(context, { kind: "reward", config, ...(rankings ? { rankings } : {}) });
      await drive(context, (signal) =>
        recordedJob(config, resumedRun(flags, "reward"), signal, (job, { resumed }) =>
          runTrainReward(config, job, { resume: resumed, ...(rankings ? { rankings } : {}) }),
        ),
      );
      return undefined;
    }),
  );
}

function addRefl(parent: Command, act: CommandSlot["act"]): void {
  const command = parent.command("refl").description("tune a text-to-image model by a reward model's gradient");
  const flags = addConfigOptions(command, trainReflConfig, { resume: true });
  const isDryRun = dryRunOption(command);
  command.action(() =>
    act(async (context) => {
      const config = await readConfig(trainReflConfig, flags);
      tasteNamed(config.taste, taskNamed(config.task));
      const examples = await ownExamples(config.data);
      const prompts = config.prompts === undefined ? undefined : await readPromptFile(config.prompts);
      const options = { ...(examples ? { examples } : {}), ...(prompts ? { prompts } : {}) };
      if (isDryRun()) return tellDryRun(context, { kind: "refl", config, options });
      await drive(context, (signal) =>
        recordedJob(config, resumedRun(flags, "refl"), signal, (job, { resumed }) =>
          runTrainRefl(config, job, { ...options, resume: resumed }),
        ),
      );
      return undefined;
    }),
  );
}

/** Adds `train` with its three trainings. */
export function addTrainCommand({ parent, act }: CommandSlot): void {
  const train = parent.command("train").description("train a model");
  addBase(train, act);
  addReward(train, act);
  addRefl(train, act);
}
