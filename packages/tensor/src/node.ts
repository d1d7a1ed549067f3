/** Floor 1 for Node: the host on Dawn. */
export { nodeHost } from "./host.node.ts";
export { fileTuneStore, tuneFolder } from "./tune/store.node.ts";
