/** Runs the benchmark in Deno: one script over the bundles, which sends its results to a server of this process. */
import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
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
  // Its first line is its process, which is not the one started here: that one starts Deno.
  let tellPid;
  const pid = new Promise((resolve) => {
    tellPid = resolve;
  });
  const clock = async () => (process.platform === "linux" ? report.watchDriverThreads(await pid) : null);
  let result = null;
  const onResult = (soFar) => {
    result = soFar;
    report.save(soFar, options);
  };
  const { server, base } = await report.serveRun({ folder, clock, onResult });
  const main = join(folder, "deno.mjs");
  const run = { base, modules: `${pathToFileURL(join(folder, "peers")).href}/`, options };
  writeFileSync(
    main,
    `console.log(Deno.pid);
const { runOnWeb } = await import(${JSON.stringify(pathToFileURL(web).href)});
await runOnWeb({ name: \`deno \${Deno.version.deno}\`, ...${JSON.stringify(run)} }, (line) => console.error(line));
Deno.exit(0);
`,
  );
  const deno = join(root, "node_modules", ".bin", "deno");
  const rights = ["--allow-read", "--allow-env", `--allow-net=${new URL(base).host}`, "--no-prompt"];
  const child = spawn(deno, ["run", "--unstable-webgpu", ...rights, main], {
    cwd: folder,
    env: { ...hostEnvironment(root), NO_COLOR: "1", DENO_NO_UPDATE_CHECK: "1" },
    stdio: ["ignore", "pipe", "inherit"],
  });
  child.stdout.setEncoding("utf8");
  child.stdout.on("data", (chunk) => tellPid(Number.parseInt(chunk, 10)));
  const code = await new Promise((resolve) => child.on("close", resolve));
  server.close();
  server.closeAllConnections();
  if (code !== 0) console.error(`Deno ended with ${code} before its result`);
  if (result) report.write(result, options);
  return code === 0 && result ? 0 : 1;
}
