/** Bundles the benchmark and its peers with esbuild into one folder, for Node, Deno and the browser alike. */
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { build } from "esbuild";
import { embedWgsl, KERNELS } from "../embed-wgsl.mjs";
import { hashFiles, unlessStamped } from "../setup/stamp.mjs";

const PEER_ENTRIES = {
  jax: 'export * from "@jax-js/jax";',
  tfjs: [
    'import "@tensorflow/tfjs-core/dist/register_all_gradients.js";',
    'import "@tensorflow/tfjs-backend-webgpu";',
    'export * from "@tensorflow/tfjs-core";',
  ].join("\n"),
  "webgpu-torch": 'import * as torch from "webgpu-torch"; export { torch };',
};
/** This engine as a user bundles it, with the host of Node and without. */
const OWN_ENTRIES = {
  "refl-core": 'export * from "@refl/tensor"; export * from "@refl/autograd";',
  refl: 'export * from "@refl/tensor"; export * from "@refl/tensor/node"; export * from "@refl/autograd";',
};
/** TensorFlow.js asks Node's `util` for what every host has as globals. */
const UTIL = {
  name: "util",
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^util$/ }, () => ({ path: "util", namespace: "globals" }));
    onLoad({ filter: /.*/, namespace: "globals" }, () => ({
      contents: [
        "export const { TextEncoder, TextDecoder } = globalThis;",
        "const is = (type) => (x) => x instanceof type;",
        "export const types = { isFloat32Array: is(Float32Array), isInt32Array: is(Int32Array), isUint8Array: is(Uint8Array), isUint8ClampedArray: is(Uint8ClampedArray) };",
      ].join("\n"),
    }));
  },
};
const CHILDREN = ["training", "host", "start"];
const ORT_FILES = ["ort.webgpu.bundle.min.mjs", "ort-wasm-simd-threaded.asyncify.wasm"];

/** Writes each peer as one ES module `<name>.mjs` to `out`, ONNX Runtime as its own bundle and wasm. */
export async function bundlePeers(root, out) {
  mkdirSync(out, { recursive: true });
  const peers = join(root, "bench", "peers");
  for (const [name, contents] of Object.entries(PEER_ENTRIES))
    await build({
      stdin: { contents, resolveDir: peers },
      outfile: join(out, `${name}.mjs`),
      bundle: true,
      minify: true,
      platform: "browser",
      format: "esm",
      target: "es2022",
      plugins: [UTIL],
      logLevel: "error",
    });
  const require = createRequire(join(peers, "package.json"));
  const ort = dirname(require.resolve("onnxruntime-web"));
  for (const file of ORT_FILES) copyFileSync(join(ort, file), join(out, file));
}

async function bundleOwn(root, out) {
  for (const [name, contents] of Object.entries(OWN_ENTRIES))
    await build({
      stdin: { contents, resolveDir: join(root, "bench") },
      outfile: join(out, `${name}.mjs`),
      bundle: true,
      minify: true,
      platform: "neutral",
      format: "esm",
      target: "es2022",
      conditions: ["source"],
      external: ["webgpu", "node:*"],
      logLevel: "error",
    });
}

/** Bundles a script of `bench/src` to `file`; what it needs of `webgpu` stays an import. */
export async function bundleEntry(root, entry, file, platform = "node") {
  await build({
    absWorkingDir: root,
    entryPoints: [join("bench", "src", entry)],
    outfile: file,
    bundle: true,
    platform: platform === "node" ? "node" : "browser",
    format: "esm",
    target: "es2022",
    conditions: ["source"],
    external: ["webgpu", "node:*", "@jsquash/*"],
    sourcemap: "inline",
    logLevel: "error",
  });
}

/** Versions by package of this engine and of the peers. */
function versions(root) {
  const read = (file) => JSON.parse(readFileSync(join(root, file), "utf8"));
  return { refl: read("packages/tensor/package.json").version, ...read("bench/peers/package.json").devDependencies };
}

/** Bundles all that `pnpm bench` runs to `.cache/bench` and returns that folder; the peers only when they have changed. */
export async function prepareBench(root) {
  embedWgsl(KERNELS);
  const folder = join(root, ".cache", "bench");
  const peers = join(folder, "peers");
  const stamp = hashFiles(root, ["pnpm-lock.yaml", "scripts/bench/build.mjs"]);
  await unlessStamped(join(folder, "peers.stamp"), stamp, [join(peers, "versions.json")], async () => {
    await bundlePeers(root, peers);
    writeFileSync(join(peers, "versions.json"), JSON.stringify(versions(root)));
  });
  await bundleOwn(root, peers);
  await bundleEntry(root, "main.node.ts", join(folder, "main.mjs"));
  for (const name of CHILDREN) await bundleEntry(root, `children/${name}.node.ts`, join(folder, `${name}.mjs`));
  return folder;
}
