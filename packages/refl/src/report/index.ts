/** The summary of a run for programs, and its report for people. */
export { type PngEncoder, type ReportPicture, renderReport } from "./html.ts";
export * from "./judgement.ts";
export * from "./scores.ts";
export * from "./summary.ts";
export * from "./table.ts";
