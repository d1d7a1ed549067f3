/** What `@refl/refl` offers on Node alone: run folders, files and PNG through pngjs. */

export * from "./io/files.node.ts";
export * from "./io/png.node.ts";
export * from "./run/folder.node.ts";
