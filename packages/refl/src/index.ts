/** Everything of `@refl/refl` that runs on every host: the browser, Node and Deno. */

export * from "./config/index.ts";
export * from "./data/random.ts";
export * from "./data/task.ts";
export * from "./events.ts";
export * from "./io/grid.ts";
export * from "./io/parameters.ts";
export * from "./io/png-chunks.ts";
export * from "./io/storage-error.ts";
export * from "./run/sink.ts";
