/** What `@refl/refl` offers on Node alone: run folders, files and PNG through pngjs. */
export * from "./assets.node.ts";
export * from "./data/check.node.ts";
export * from "./data/folder.node.ts";
export * from "./data/image.node.ts";
export * from "./io/evaluation.node.ts";
export * from "./io/files.node.ts";
export * from "./io/pictures.node.ts";
export * from "./io/png.node.ts";
export * from "./run/folder.node.ts";
export * from "./run/machine.node.ts";
