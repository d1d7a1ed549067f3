/** A tuner's tables as JSON files of a folder, for Node and Deno. */
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import type { TuneStore } from "./store.ts";

/** Where tables are kept unless a caller knows better: `refl/kernels` in the user's cache folder. */
export function tuneFolder(): string {
  return join(process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache"), "refl", "kernels");
}

let saves = 0;

/** Keeps each table as a file of `folder`, which is made when it is first needed. A table is written beside its place and renamed. */
export function fileTuneStore(folder: string): TuneStore {
  return {
    place: (name) => join(folder, name),
    load: async (name) => {
      try {
        return await readFile(join(folder, name), "utf8");
      } catch (cause) {
        if ((cause as { code?: string }).code === "ENOENT") return null;
        throw cause;
      }
    },
    save: async (name, text) => {
      await mkdir(folder, { recursive: true });
      const part = join(folder, `.${name}.${process.pid}-${saves++}`);
      try {
        await writeFile(part, text);
        await rename(part, join(folder, name));
      } catch (cause) {
        await rm(part, { force: true });
        throw cause;
      }
    },
  };
}
