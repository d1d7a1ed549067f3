/** The scheduler of a diffusers folder, by its class. */
import type { ModelFolder } from "../formats/folder.ts";
import { DDIMScheduler } from "../schedulers/ddim.ts";
import { DDPMScheduler } from "../schedulers/ddpm.ts";
import { PNDMScheduler } from "../schedulers/pndm.ts";
import type { Scheduler } from "./sampler.ts";

/** Classes of diffusers' schedulers that can be read. */
export const SCHEDULER_CLASSES = ["DDIMScheduler", "DDPMScheduler", "PNDMScheduler"] as const;

/** @throws CheckpointError when the config is missing; DataError naming the field that is wrong */
export async function readScheduler(folder: ModelFolder, name: (typeof SCHEDULER_CLASSES)[number]): Promise<Scheduler> {
  const path = "scheduler/scheduler_config.json";
  const config = await folder.readJson(path);
  const file = `${folder.name}/${path}`;
  switch (name) {
    case "DDIMScheduler":
      return new DDIMScheduler(config, file);
    case "DDPMScheduler":
      return new DDPMScheduler(config, file);
    case "PNDMScheduler":
      return new PNDMScheduler(config, file);
  }
}
