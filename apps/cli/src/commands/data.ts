/** `refl data check`: broken files, duplicates and leaks in a folder of pictures and comparisons, by file and line. */
import { TASK_NAMES, taskNamed } from "@refl/refl";
import { dataCheck, type Finding } from "@refl/refl/node";
import { Option } from "commander";
import pc from "picocolors";
import { type CommandContext, drive } from "../drive.ts";
import { EXIT } from "../exit.ts";
import type { CommandSlot } from "../program.ts";

interface CheckOptions {
  readonly task?: string;
}

function tell(finding: Finding, { terminal, json }: CommandContext): void {
  if (json) {
    terminal.stdout(JSON.stringify({ type: "finding", ...finding }) + "\n");
    return;
  }
  const { severity, file, line, field, message } = finding;
  const colors = pc.createColors(terminal.color);
  const mark = severity === "error" ? colors.red("error") : colors.yellow("warning");
  terminal.stdout(`${file}${line ? `:${line}` : ""}: ${mark}: ${field ? `${field}: ` : ""}${message}\n`);
}

async function check(folders: readonly string[], options: CheckOptions, context: CommandContext): Promise<number> {
  let errors = 0;
  let warnings = 0;
  await drive(context, async function* (signal) {
    for (const folder of folders)
      for await (const finding of dataCheck(folder, options.task ? { task: taskNamed(options.task) } : {})) {
        if (signal.aborted) return;
        if (finding.severity === "error") errors++;
        else warnings++;
        tell(finding, context);
      }
    yield { type: "note", message: `${errors} errors, ${warnings} warnings` };
    yield { type: "result", summary: { errors, warnings } };
  });
  return errors ? EXIT.failedCheck : EXIT.ok;
}

/** Adds `data` with its `check`. The check ends with 1 when it finds an error, and with 2 when a folder cannot be read. */
export function addDataCommand({ parent, act }: CommandSlot): void {
  const data = parent.command("data").description("look after data sets");
  data
    .command("check")
    .description("name broken files, duplicates and leaks by file and line")
    .argument(
      "<folders...>",
      "folders of pictures with captions.jsonl or comparisons.json, or with train, validation and test parts",
    )
    .addOption(new Option("--task <name>", "hold captions against this task's words and its test").choices(TASK_NAMES))
    .action((folders: string[], options: CheckOptions) => act((context) => check(folders, options, context)));
}
