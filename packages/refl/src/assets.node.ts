/** The models that ship with the package, as folders on Node. */
import { fileURLToPath } from "node:url";
import { nodeFolder } from "@refl/models/node";
import { type TaskModels, taskModels } from "./models.ts";

/**
 * The shipped models of a task. They lie in `assets/models/<task>` beside `src` and `dist`, and beside a bundle's own folder.
 * Opening one that is not there throws `CheckpointError`.
 */
export async function shippedModels(task: string): Promise<TaskModels> {
  return taskModels(nodeFolder(fileURLToPath(new URL(`../assets/models/${task}`, import.meta.url))));
}
