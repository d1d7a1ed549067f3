/** Floor 3 for Node: model folders and files on disk. */
export { writeFileAtomic } from "./formats/atomic.node.ts";
export { openFileSource } from "./formats/byte-source.node.ts";
export { nodeFolder } from "./formats/folder.node.ts";
