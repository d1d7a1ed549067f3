/** Rehearsals: a training with as few steps as show all that it does, and how often the training itself does each of it. */
import type { TrainBaseConfig } from "../config/train-base.ts";
import type { TrainReflConfig } from "../config/train-refl.ts";
import type { TrainRewardConfig } from "../config/train-reward.ts";
import { uniformAt } from "../data/random.ts";
import { trainPrompts } from "../data/splits/train.ts";
import type { Prompt } from "../data/task.ts";
import { taskNamed } from "../data/tasks.ts";
import type { Run } from "../events.ts";
import { rankUtilities } from "../judge/annotator.ts";
import type { ExampleSource } from "../train/examples.ts";
import type { TrainingPart } from "../train/observer.ts";
import { type RankedPictures, rankedPictures } from "../train/pairs.ts";
import { runTrainBase } from "./base.ts";
import type { JobContext } from "./context.ts";
import { foundPrompts } from "./ranking.ts";
import { runTrainRefl, type TrainReflOptions } from "./refl.ts";
import { drawRankings, learnRankings, type RankingSplit, splitRankings, startOfReward } from "./reward.ts";

/** A training that could be run. */
export type Training =
  | { readonly kind: "base"; readonly config: TrainBaseConfig; readonly examples?: ExampleSource }
  | { readonly kind: "reward"; readonly config: TrainRewardConfig; readonly rankings?: readonly RankedPictures[] }
  | { readonly kind: "refl"; readonly config: TrainReflConfig; readonly options?: Omit<TrainReflOptions, "resume"> };

/** How often a training has each part in each of its stages; a part that is missing comes as often as in the rehearsal. */
export type PartCounts = Readonly<Partial<Record<TrainingPart, number>>>;

export interface Rehearsal {
  readonly run: (context: JobContext) => Run<unknown>;
  readonly times: PartCounts;
  /** Warnings are about data that the rehearsal made up. */
  readonly invented: boolean;
}

/** Steps of a rehearsal at most: enough for each point of the sampler that ReFL grades at to have come up. */
const STEPS = 12;

/** Pictures that the base model draws at once, and batches of them in a rehearsal: the first one of all is slower than the others. */
const PICTURES = 64;
const BATCHES = 2;

/** Passes over the rankings in a rehearsal: the number of pairs differs from step to step, so that most shapes are new in the first one. */
const EPOCHS = 2;

/** The rehearsal of a training. */
export function rehearse(training: Training): Rehearsal {
  if (training.kind === "reward") return rehearseReward(training.config, training.rankings);
  if (training.kind === "base") {
    const { config, examples } = training;
    const steps = Math.min(config.steps, STEPS);
    return {
      run: (context) => runTrainBase({ ...config, steps, sampleEvery: steps }, context, examples ? { examples } : {}),
      times: {
        step: config.steps,
        grid: Math.ceil(config.steps / config.sampleEvery),
        checkpoint: Math.ceil(config.steps / config.saveEvery),
      },
      invented: false,
    };
  }
  const { config, options } = training;
  const steps = Math.min(config.steps, STEPS);
  const earlyStop = config.earlyStop && { ...config.earlyStop, everySteps: steps };
  return {
    run: (context) => runTrainRefl({ ...config, steps, earlyStop, sampleEvery: steps }, context, options),
    times: {
      step: config.steps,
      look: config.earlyStop ? 1 + Math.ceil(config.steps / config.earlyStop.everySteps) : 0,
      grid: 1 + Math.ceil(config.steps / config.sampleEvery),
      checkpoint: Math.ceil(config.steps / config.saveEvery),
    },
    invented: false,
  };
}

/** A few pictures are drawn and ranked; what is learnt from are rankings that need no picture to be looked at. */
function rehearseReward(config: TrainRewardConfig, given: readonly RankedPictures[] | undefined): Rehearsal {
  const { prompts, foundPrompts: found, imagesPerPrompt, epochs, rankingsPerStep } = config;
  const split = given ? splitRankings(given, config.validationShare) : inventedRankings(config);
  const few = Math.max(2, Math.ceil((BATCHES * PICTURES) / imagesPerPrompt));
  const drawn = { ...config, prompts: Math.min(prompts, few), foundPrompts: Math.min(found, few) };
  const steps = epochs * Math.ceil(split.training.length / rankingsPerStep);
  return {
    run: async function* (context) {
      const scorer = await startOfReward(config, context);
      try {
        if (!given) yield* drawRankings(drawn, context);
        return yield* learnRankings({ ...config, epochs: Math.min(epochs, EPOCHS) }, context, scorer, split);
      } finally {
        scorer.model.dispose();
      }
    },
    times: {
      step: steps,
      look: epochs,
      checkpoint: Math.ceil(steps / config.saveEvery),
      ...(given
        ? {}
        : {
            pictures: (prompts * imagesPerPrompt) / PICTURES,
            ranking: (2 * (prompts + found)) / (drawn.prompts + drawn.foundPrompts),
          }),
    },
    invented: !given,
  };
}

/** Rankings of made-up pictures, as many as the annotator would give, some of them ties. */
function inventedRankings(config: TrainRewardConfig): RankingSplit {
  const { seed, validationShare } = config;
  const task = taskNamed(config.task);
  const { training, validation } = splitRankings(
    invented(config, trainPrompts(task, config.prompts, seed)),
    validationShare,
  );
  const unseen = new Set(validation.map(({ prompt }) => prompt));
  const found = invented(config, foundPrompts(task, config.foundPrompts, seed, unseen));
  return { training: [...training, ...found], validation };
}

function invented(
  { imagesPerPrompt, seed, ...config }: TrainRewardConfig,
  prompts: readonly Prompt[],
): RankedPictures[] {
  const values = 3 * taskNamed(config.task).size ** 2;
  const pictures = Array.from({ length: imagesPerPrompt }, (_, place) =>
    Uint8Array.from({ length: values }, (_, i) => 255 * uniformAt(seed, place, i)),
  );
  const utilities = prompts.map((_, n) => pictures.map((_, place) => uniformAt(seed, n, place)));
  const comparisons = rankUtilities(utilities, prompts, { seed, nameOf: (_, place) => String(place) });
  return rankedPictures(comparisons, (name) => pictures[Number(name)]!);
}
