/** What training code may enumerate: the train and validation splits and prompts from them. */
import type { PictureTask, Prompt } from "../task.ts";
import { promptsOf } from "./prompts.ts";

/** Prompts to draw, rank and tune on. Prompt i is a pure function of (seed, i). */
export const trainPrompts = (task: PictureTask, count: number, seed = 0): Prompt[] =>
  promptsOf(task, task.combinations("train"), count, seed);

/** Prompts for early stopping and for choosing hyper-parameters. */
export const validationPrompts = (task: PictureTask, count: number, seed = 0): Prompt[] =>
  promptsOf(task, task.combinations("validation"), count, seed);
