/** Floor 3 for Node: model folders and files on disk. */
export { writeFileAtomic } from "./formats/atomic.node.ts";
export { openFileSource } from "./formats/byte-source.node.ts";
export { nodeFolder } from "./formats/folder.node.ts";
export { findSnapshot, localModelPath } from "./hub/cache.node.ts";
export { type PullEvent, type PulledFile, type PulledModel, type PullOptions, pullModel } from "./hub/pull.node.ts";
export { type HubOptions, type HubSettings, hubCacheDir, hubSettings } from "./hub/settings.node.ts";
