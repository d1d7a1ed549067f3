/** The tree of commands, its global options, and the way from a command line to an exit code. */
import { Command } from "commander";
import manifest from "../package.json" with { type: "json" };
import { addDataCommand } from "./commands/data.ts";
import { addDemoCommand } from "./commands/demo.ts";
import { addDoctorCommand } from "./commands/doctor.ts";
import { addEvalCommand } from "./commands/eval.ts";
import { addPullCommand } from "./commands/pull.ts";
import { addSampleCommand } from "./commands/sample.ts";
import { addScoreCommands } from "./commands/score.ts";
import { addTrainCommand } from "./commands/train.ts";
import type { CommandContext } from "./drive.ts";
import { EXIT, reportError } from "./exit.ts";
import type { Terminal } from "./terminal.ts";

/** What a command's module needs: it adds its command to `parent`, and its action returns the exit code through `done`. */
export interface CommandSlot {
  readonly parent: Command;
  /** Runs the command's work with the context that the global options make. */
  act(work: (context: CommandContext) => Promise<number | undefined>): Promise<void>;
}

const COMMANDS = [
  addDemoCommand,
  addTrainCommand,
  addSampleCommand,
  addScoreCommands,
  addEvalCommand,
  addPullCommand,
  addDataCommand,
  addDoctorCommand,
];

/** Runs one command line (without the program's own name) and gives back the exit code. Never throws. */
export async function runCli(args: readonly string[], terminal: Terminal): Promise<number> {
  const program = new Command("refl");
  let exitCode: number = EXIT.ok;
  program
    .description("Teach a text-to-image model your taste: reward models and ReFL on WebGPU")
    .version(manifest.version)
    .option("--json", "print one JSON event per line on stdout, and nothing else there")
    .option("--debug", "print the stack of errors that are otherwise told in one line")
    .configureHelp({ showGlobalOptions: true })
    .configureOutput({ writeOut: terminal.stdout, writeErr: terminal.stderr, getErrHelpWidth: () => terminal.columns })
    .exitOverride();
  // Read from the words themselves: an error in the command line is told in the wanted form too.
  const flags = { json: args.includes("--json"), debug: args.includes("--debug") };
  const slot: CommandSlot = {
    parent: program,
    async act(work) {
      exitCode = (await work({ terminal, json: flags.json })) ?? EXIT.ok;
    },
  };
  for (const add of COMMANDS) add(slot);
  try {
    await program.parseAsync([...args], { from: "user" });
  } catch (error) {
    exitCode = reportError(error, terminal, flags);
  }
  return exitCode;
}
