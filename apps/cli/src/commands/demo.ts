/** `refl demo`: the whole loop, its tables, and its report. */
import {
  type DemoConfig,
  type DemoSummary,
  demoConfig,
  formatSummary,
  type Run,
  renderReport,
  runDemo,
  taskNamed,
  tasteNamed,
} from "@refl/refl";
import { encodePng } from "@refl/refl/node";
import { addConfigOptions, readConfig } from "../config-options.ts";
import { drive } from "../drive.ts";
import { recordedJob, withoutResult } from "../job.ts";
import type { CommandSlot } from "../program.ts";

function demo(config: DemoConfig, signal: AbortSignal): Run<DemoSummary> {
  return recordedJob(config, undefined, signal, async function* (context, { sink }) {
    const { summary, pictures } = yield* withoutResult(runDemo(config, context));
    const start = performance.now();
    yield { type: "stage", stage: "report" };
    const text = await sink.writeFile("summary.json", formatSummary(summary));
    const report = await sink.writeFile(
      "report.html",
      await renderReport(summary, pictures, (image) => encodePng(image)),
    );
    yield { type: "stage-end", stage: "report", seconds: (performance.now() - start) / 1000 };
    yield { type: "note", message: `summary: ${text}` };
    yield { type: "note", message: `report:  ${report}` };
    yield { type: "result", summary };
    return summary;
  });
}

/** Adds the command. */
export function addDemoCommand({ parent, act }: CommandSlot): void {
  const command = parent
    .command("demo")
    .description(
      "teach the shipped model a taste: rank, train a reward model, run ReFL and a control, compare, report",
    );
  const flags = addConfigOptions(command, demoConfig);
  command.action(() =>
    act(async (context) => {
      const config = await readConfig(demoConfig, flags);
      // A taste that the task's pictures cannot show is told before anything is made.
      tasteNamed(config.taste, taskNamed(config.task));
      await drive(context, (signal) => demo(config, signal));
      return undefined;
    }),
  );
}
