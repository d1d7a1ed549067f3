/** What `@refl/refl` offers on Node alone: run folders, files and PNG through pngjs. */

export * from "./io/png.node.ts";
