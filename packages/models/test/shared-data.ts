/** Real files that others made, outside the repository: `../shared/data` from its root, or the folder named by REFL_DATA. */
import { existsSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import type { TestContext } from "vitest";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));

/** Where the shared data is looked for. */
export const DATA_FOLDER = process.env["REFL_DATA"] ?? resolve(ROOT, "../shared/data");

/** The bytes of a file of the shared data. Skips the test, saying why, when the file is not there. */
export function sharedData({ skip }: TestContext, path: string): Uint8Array<ArrayBuffer> {
  const file = resolve(DATA_FOLDER, path);
  if (!existsSync(file)) skip(`needs ${path} of the shared data, which is not at ${DATA_FOLDER} (set REFL_DATA)`);
  return new Uint8Array(readFileSync(file));
}

/** As {@link sharedData}, as text. */
export const sharedText = (context: TestContext, path: string): string =>
  new TextDecoder().decode(sharedData(context, path));
