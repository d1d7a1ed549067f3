/** Runs the benchmark in headless Chromium: the bundles are served from this machine, the page returns the result. */
import { join } from "node:path";
import { findProgram } from "../setup/run.mjs";
import { CHROMIUM_NAMES, ensureTestHosts } from "../setup/test-hosts.mjs";
import { bundleEntry } from "./build.mjs";
import { finish } from "./finish.mjs";

/** The watchdog would end the GPU process at the first kernel that takes a software adapter long. */
const FLAGS = [
  "--no-sandbox",
  "--enable-unsafe-webgpu",
  "--disable-gpu-watchdog",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--no-first-run",
];

/** Resolves to the exit code. */
export async function runChromium(root, folder, args) {
  await ensureTestHosts(root);
  const executablePath = findProgram(...CHROMIUM_NAMES);
  if (executablePath === null) {
    console.error("Chromium is not installed");
    return 1;
  }
  const report = await finish(root, folder);
  const options = report.options(args);
  await bundleEntry(root, "web.ts", join(folder, "web.mjs"), "browser");
  const { chromium } = await import("playwright-core");
  // Where there is a GPU, Chromium takes it with REFL_BENCH_ADAPTER=default.
  const adapter = process.env.REFL_BENCH_ADAPTER ?? "swiftshader";
  const browser = await chromium.launch({
    executablePath,
    headless: true,
    args: [...FLAGS, `--use-webgpu-adapter=${adapter}`],
  });
  const clock = async () => {
    if (process.platform !== "linux") return null;
    const session = await browser.newBrowserCDPSession();
    const { processInfo } = await session.send("SystemInfo.getProcessInfo");
    await session.detach();
    const gpu = processInfo.find(({ type }) => type === "GPU");
    return gpu ? report.gpuProcessThreads(gpu.id) : null;
  };
  let result = null;
  const onResult = (soFar) => {
    result = soFar;
    report.save(soFar, options);
  };
  const { server, base } = await report.serveRun({ folder, clock, onResult });
  try {
    const page = await browser.newPage();
    page.setDefaultTimeout(0);
    page.on("console", (text) => {
      if (text.text().startsWith("bench: ")) console.error(text.text().slice(7));
    });
    await page.goto(base);
    await page.evaluate(
      async (run) => {
        const { runOnWeb } = await import("/web.mjs");
        await runOnWeb(run, (line) => console.log(`bench: ${line}`));
      },
      { name: `chromium ${browser.version()}`, base, modules: `${base}peers/`, options },
    );
    report.write(result, options);
    return 0;
  } catch (error) {
    console.error(`Chromium ended before its result: ${error.message}`);
    if (result) report.write(result, options);
    return 1;
  } finally {
    await browser.close();
    server.close();
    server.closeAllConnections();
  }
}
