/** `refl eval`: both judges' view of a model's pictures for held-out prompts. */
import {
  type EvaluateConfig,
  type EvaluationResult,
  evaluateConfig,
  evaluationTables,
  type Run,
  runEvaluate,
  taskNamed,
  tasteNamed,
} from "@refl/refl";
import { writeFileAtomic } from "@refl/refl/node";
import { addConfigOptions, readConfig } from "../config-options.ts";
import { drive } from "../drive.ts";
import { jobContext, onDevice, withoutResult } from "../job.ts";
import type { CommandSlot } from "../program.ts";

function evaluate(config: EvaluateConfig, signal: AbortSignal): Run<EvaluationResult> {
  return onDevice(async function* (device) {
    const result = yield* withoutResult(runEvaluate(config, jobContext(device, null, signal)));
    yield* evaluationTables(result.judged, result.wordOrder);
    if (config.out !== undefined) {
      await writeFileAtomic(config.out, JSON.stringify({ ...result, config }, null, 2) + "\n");
      yield { type: "note", message: `result: ${config.out}` };
    }
    yield { type: "result", summary: result };
    return result;
  });
}

/** Adds the command. */
export function addEvalCommand({ parent, act }: CommandSlot): void {
  const command = parent.command("eval").description("judge a model's pictures for held-out prompts");
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
