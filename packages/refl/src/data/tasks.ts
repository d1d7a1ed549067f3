/** The built-in picture tasks by name. */
import { DataError } from "@refl/tensor";
import { emoji32 } from "./emoji32.ts";
import { shapes16 } from "./shapes16.ts";
import type { PictureTask } from "./task.ts";

/** All built-in tasks, by name. */
export const TASKS: Readonly<Record<string, PictureTask>> = { shapes16, emoji32 };

/** The task of that name; DataError with the names there are otherwise. */
export function taskNamed(name: string): PictureTask {
  const task = Object.hasOwn(TASKS, name) ? TASKS[name] : undefined;
  if (!task) throw new DataError("task", 0, "name", `"${name}" is not one of ${Object.keys(TASKS).join(", ")}`);
  return task;
}
