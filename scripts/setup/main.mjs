/** Tells a script that was started from one that was imported. */
import { realpathSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** Whether the module with this `import.meta.url` is the one that Node was started with, also through a symbolic link. */
export function isMain(url) {
  return process.argv[1] !== undefined && realpathSync(process.argv[1]) === realpathSync(fileURLToPath(url));
}
