/** The configs of all commands, and how they are read, checked and described. */
export * from "./demo.ts";
export * from "./describe.ts";
export * from "./evaluate.ts";
export * from "./evaluate-models.ts";
export * from "./evaluate-rankings.ts";
export { TASK_NAMES, TASTE_NAMES, type TaskName, type TasteName } from "./fields.ts";
export * from "./pull.ts";
export { type ConfigDefinition, type ConfigOf, type ConfigSchema, resolveConfig } from "./resolve.ts";
export * from "./sample.ts";
export * from "./score.ts";
export * from "./source.ts";
export * from "./train-base.ts";
export * from "./train-refl.ts";
export * from "./train-reward.ts";
