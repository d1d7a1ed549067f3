/** Child processes, progress lines and errors of the set-up. */
import { spawn } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";

/** A set-up step that cannot go on; `exitCode` is what the command ends with. */
export class SetupError extends Error {
  constructor(message, exitCode = 1) {
    super(message);
    this.name = "SetupError";
    this.exitCode = exitCode;
  }
}

/** Does `work` and prints one line: the title, then the seconds it took. */
export async function step(title, work) {
  const start = performance.now();
  process.stdout.write(`${title} … `);
  try {
    const result = await work();
    process.stdout.write(`${((performance.now() - start) / 1000).toFixed(1)} s\n`);
    return result;
  } catch (error) {
    process.stdout.write("failed\n");
    throw error;
  }
}

/** Runs a command to its end without input. Resolves to `{code, output}`, standard output and error together; never rejects. */
export function capture(command, args, options = {}) {
  return new Promise((resolve) => {
    const chunks = [];
    const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], ...options });
    child.stdout.on("data", (chunk) => chunks.push(chunk));
    child.stderr.on("data", (chunk) => chunks.push(chunk));
    const output = () => Buffer.concat(chunks).toString("utf8");
    child.on("error", (error) => resolve({ code: 127, output: `${output()}${error.message}\n` }));
    child.on("close", (code, signal) =>
      resolve({ code: code ?? 1, output: signal ? `${output()}ended by ${signal}\n` : output() }),
    );
  });
}

/** Runs a command to its end; throws `SetupError` with the last lines of its output when it fails. */
export async function run(command, args, options = {}) {
  const { code, output } = await capture(command, args, options);
  if (code !== 0) {
    const tail = output.trimEnd().split("\n").slice(-25).join("\n");
    throw new SetupError(`"${[command, ...args].join(" ")}" ended with code ${code}:\n${tail}`);
  }
  return output;
}

/** The full path of the first of `names` found on the PATH, or null. */
export function findProgram(...names) {
  for (const name of names) {
    for (const folder of (process.env.PATH ?? "").split(delimiter)) {
      if (folder === "") continue;
      const path = join(folder, name);
      try {
        accessSync(path, constants.X_OK);
        return path;
      } catch {}
    }
  }
  return null;
}

/** Whether this process is root. */
export function isRoot() {
  return process.getuid?.() === 0;
}
