/** Environment variables that the WebGPU hosts want, given to the processes that the root scripts start. */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

let runtimeFolder;

/** Where Mesa keeps compiled kernels between runs, unless the caller's environment says otherwise. */
export function shaderCacheFolder(root) {
  return process.env.MESA_SHADER_CACHE_DIR ?? join(root, ".cache", "mesa");
}

/** This process's environment with Mesa's shader cache in `.cache/mesa` and, where the session has none, an XDG_RUNTIME_DIR that only this user can read and that goes when this process ends. */
export function hostEnvironment(root) {
  const cache = shaderCacheFolder(root);
  mkdirSync(cache, { recursive: true });
  const environment = { ...process.env, MESA_SHADER_CACHE_DIR: cache };
  if (!environment.XDG_RUNTIME_DIR && process.platform === "linux") {
    if (runtimeFolder === undefined) {
      runtimeFolder = mkdtempSync(join(tmpdir(), "refl-runtime-"));
      process.on("exit", () => rmSync(runtimeFolder, { recursive: true, force: true }));
    }
    environment.XDG_RUNTIME_DIR = runtimeFolder;
  }
  return environment;
}
