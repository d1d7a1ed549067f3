/** Pictures as bytes: Pillow's modes and its resize. */
export { type PillowImage, type PillowMode, pillowChannels, pillowToRgb } from "./pillow-image.ts";
export { type PassOrder, pillowResize, pillowSquare } from "./pillow-resize.ts";
