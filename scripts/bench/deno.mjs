/** Runs the benchmark in Deno: one script over the bundles, whose output is the result as JSON. */
import { spawn } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { hostEnvironment } from "../setup/environment.mjs";
import { bundleEntry } from "./build.mjs";
import { finish } from "./finish.mjs";

/** Resolves to the exit code. */
export async function runDeno(root, folder, args) {
  const web = join(folder, "web.mjs");
  const report = await finish(root, folder);
  const options = report.options(args);
  await bundleEntry(root, "web.ts", web, "browser");
  mkdirSync(folder, { recursive: true });
  const main = join(folder, "deno.mjs");
  const peers = `${pathToFileURL(join(folder, "peers")).href}/`;
  writeFileSync(
    main,
    `import { runOnWeb } from ${JSON.stringify(pathToFileURL(web).href)};
const bytes = async (file) => (await Deno.readFile(new URL(file, ${JSON.stringify(peers)}))).buffer;
const result = await runOnWeb(${JSON.stringify({ name: "deno", base: peers, options })}, (line) => console.error(line), bytes);
console.log("result " + JSON.stringify(result));
Deno.exit(0);
`,
  );
  const deno = join(root, "node_modules", ".bin", "deno");
  const child = spawn(deno, ["run", "--unstable-webgpu", "--allow-read", "--allow-env", "--no-prompt", main], {
    cwd: folder,
    env: { ...hostEnvironment(root), NO_COLOR: "1", DENO_NO_UPDATE_CHECK: "1" },
    stdio: ["ignore", "pipe", "inherit"],
  });
  let output = "";
  child.stdout.setEncoding("utf8");
  child.stdout.on("data", (chunk) => {
    output += chunk;
  });
  const code = await new Promise((resolve) => child.on("close", resolve));
  const line = /^result (.*)$/m.exec(output)?.[1];
  if (line === undefined) {
    console.error(`Deno ended with ${code} before its result:\n${output.slice(-2000)}`);
    return 1;
  }
  report.write(JSON.parse(line), options);
  return 0;
}
