/** `refl score` and `refl rank`: a reward model's opinion of picture files. */
import { rankConfig, runRank, runScore, type ScoredInput, scoreConfig } from "@refl/refl";
import { pictureFiles, readPrompted } from "@refl/refl/node";
import { DataError } from "@refl/tensor";
import { addConfigOptions, readConfig } from "../config-options.ts";
import { drive } from "../drive.ts";
import { jobContext, onDevice } from "../job.ts";
import type { CommandSlot } from "../program.ts";

const COMMANDS = [
  { name: "score", config: scoreConfig, run: runScore, description: "give each picture its reward" },
  { name: "rank", config: rankConfig, run: runRank, description: "order the pictures of each prompt, the best first" },
] as const;

async function readInputs(paths: readonly string[], prompt: string | undefined): Promise<ScoredInput[]> {
  const inputs: ScoredInput[] = [];
  for await (const picture of readPrompted(await pictureFiles(paths), prompt)) inputs.push(picture);
  return inputs;
}

/** Adds both commands. */
export function addScoreCommands({ parent, act }: CommandSlot): void {
  for (const { name, config: definition, run, description } of COMMANDS) {
    const command = parent
      .command(name)
      .description(description)
      .argument("[images...]", "picture files, or folders of them");
    const flags = addConfigOptions(command, definition, { positional: ["images"] });
    command.action((images: string[]) =>
      act(async (context) => {
        const config = await readConfig(definition, flags, { over: images.length ? { images } : {} });
        const inputs = await readInputs(config.images, config.prompt);
        if (!inputs.length)
          throw new DataError(name, 0, "images", "give at least one picture, or a folder that has some");
        await drive(context, (signal) => onDevice((device) => run(config, inputs, jobContext(device, null, signal))));
        return undefined;
      }),
    );
  }
}
