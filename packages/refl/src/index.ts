/** Everything of `@refl/refl` that runs on every host: the browser, Node and Deno. */
export * from "./events.ts";
