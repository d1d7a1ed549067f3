/** A place for runs that leave nothing behind. */
import { memoryFolder, type WritableModelFolder } from "@refl/models";
import type { RunSink } from "./sink.ts";

/** A folder that takes every file, piece by piece, and keeps none. */
const drain: WritableModelFolder = {
  ...memoryFolder(new Map(), "nowhere"),
  async write(_, data) {
    if (!(data instanceof Uint8Array)) for await (const piece of data) void piece;
  },
  writeJson: async () => {},
};

/** Takes everything and keeps nothing. */
export const nowhere: RunSink = {
  location: "nowhere",
  writeConfig: async () => {},
  readConfig: async () => null,
  appendMetrics: async () => {},
  truncateMetrics: async () => {},
  writeSamples: async () => "",
  async writeCheckpoint(step, write) {
    await write(drain);
    return { step, path: "" };
  },
  findLatestCheckpoint: async () => undefined,
  findBestCheckpoint: async () => undefined,
  openCheckpoint: async () => drain,
  writeFile: async () => "",
  async writeFolder(_, write) {
    await write(drain);
    return "";
  },
};
