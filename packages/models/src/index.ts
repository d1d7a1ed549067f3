/** Floor 3: layers, models, schedulers, tokenizers and checkpoint formats. */
export * from "./formats/index.ts";
export * from "./schedulers/index.ts";
export * from "./tokenizers/index.ts";
