/** `refl score` and `refl rank`: a scorer's opinion of picture files. */
import {
  formatScores,
  type RankedPicture,
  type Run,
  rankConfig,
  runRank,
  runScore,
  type ScoreConfig,
  type ScoredPicture,
  scoreConfig,
} from "@refl/refl";
import { exists, pictureFiles, scoredInputs, writeFileAtomic } from "@refl/refl/node";
import { DataError } from "@refl/tensor";
import { addConfigOptions, readConfig } from "../config-options.ts";
import { drive } from "../drive.ts";
import { jobContext, onDevice } from "../job.ts";
import type { CommandSlot } from "../program.ts";

const COMMANDS = [
  { name: "score", config: scoreConfig, run: runScore, description: "give each picture its score" },
  { name: "rank", config: rankConfig, run: runRank, description: "order the pictures of each prompt, the best first" },
] as const;

/** The values of positional arguments: pictures, and before them a prompt, which is told by its white space and by naming no file. */
async function positionals(words: readonly string[]): Promise<{ prompt: string[]; images: string[] }> {
  const [first] = words;
  const prompted =
    first !== undefined && /\s/.test(first) && !/\.(png|jpe?g|webp)$/i.test(first) && !(await exists(first));
  return { prompt: prompted ? [first] : [], images: words.slice(prompted ? 1 : 0) };
}

/** The form of the result's file: as its name ends where no form is asked. */
function fileFormat({ format, out }: ScoreConfig): "json" | "csv" {
  if (format !== "table") return format;
  return out?.toLowerCase().endsWith(".csv") ? "csv" : "json";
}

/** The run without its table where the result goes to a file or has another form. */
async function* withoutTable<Result>(run: Run<Result>, hide: boolean): Run<Result> {
  try {
    for (;;) {
      const next = await run.next();
      if (next.done) return next.value;
      if (!hide || next.value.type !== "table") yield next.value;
    }
  } finally {
    // Ending a generator that has ended does nothing.
    await run.return(undefined as Result);
  }
}

/** Adds both commands. */
export function addScoreCommands({ parent, act }: CommandSlot): void {
  for (const { name, config: definition, run, description } of COMMANDS) {
    const command = parent
      .command(name)
      .description(description)
      .argument("[prompt and images...]", "a prompt of several words, if any, and picture files, folders or patterns");
    const flags = addConfigOptions(command, definition, { positional: ["images"] });
    command.action((words: string[]) =>
      act(async (context) => {
        const { prompt, images } = await positionals(words);
        const given = await readConfig(definition, flags, { over: images.length ? { images } : {} });
        const config = { ...given, prompt: [...prompt, ...given.prompt] };
        const files = await pictureFiles(config.images);
        if (!files.length)
          throw new DataError(name, 0, "images", "give at least one picture, or a folder that has some");
        const inputs = await scoredInputs(files, config.scorer === "aesthetic" ? null : config.prompt);
        const { terminal, json } = context;
        const hidden = config.out !== undefined || config.format !== "table";
        await drive(context, (signal) =>
          onDevice(async function* (device) {
            const work: Run<readonly (ScoredPicture | RankedPicture)[]> = run(
              config,
              inputs,
              jobContext(device, null, signal),
            );
            const scored = yield* withoutTable(work, hidden);
            if (config.out !== undefined) {
              await writeFileAtomic(config.out, formatScores(scored, fileFormat(config)));
              yield { type: "note", message: `scores: ${config.out}` };
            } else if (hidden && !json) terminal.stdout(formatScores(scored, fileFormat(config)));
          }, config.tune),
        );
        return undefined;
      }),
    );
  }
}
