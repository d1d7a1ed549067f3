/** The scheduler of a diffusers folder, by its class. */
import { DataError } from "@refl/tensor";
import type { ModelFolder } from "../formats/folder.ts";
import { DDIMScheduler } from "../schedulers/ddim.ts";
import { DDPMScheduler } from "../schedulers/ddpm.ts";
import { PNDMScheduler } from "../schedulers/pndm.ts";
import type { Scheduler } from "./sampler.ts";

/** Classes of diffusers' schedulers that can be read. */
export const SCHEDULER_CLASSES = ["DDIMScheduler", "DDPMScheduler", "PNDMScheduler"] as const;

/**
 * @param named the class where the folder's index says it; by default the config's own `_class_name`
 * @throws CheckpointError when the config is missing; DataError naming the field that is wrong
 */
export async function readScheduler(
  folder: ModelFolder,
  named?: (typeof SCHEDULER_CLASSES)[number],
): Promise<Scheduler> {
  const path = "scheduler/scheduler_config.json";
  const config = await folder.readJson(path);
  const file = `${folder.name}/${path}`;
  const own = config["_class_name"];
  const name = named ?? SCHEDULER_CLASSES.find((known) => known === own);
  switch (name) {
    case undefined: {
      const text = `class ${String(own)} is not supported, only ${SCHEDULER_CLASSES.join(", ")}`;
      throw new DataError(file, 0, "_class_name", text);
    }
    case "DDIMScheduler":
      return new DDIMScheduler(config, file);
    case "DDPMScheduler":
      return new DDPMScheduler(config, file);
    case "PNDMScheduler":
      return new PNDMScheduler(config, file);
  }
}
