/** Floor 3: layers, models, pipelines, schedulers, tokenizers and checkpoint formats. */
export * from "./formats/index.ts";
export * from "./hub/index.ts";
export * from "./images/index.ts";
export * from "./models/index.ts";
export * from "./nn/index.ts";
export * from "./pipelines/index.ts";
export * from "./schedulers/index.ts";
export * from "./tokenizers/index.ts";
