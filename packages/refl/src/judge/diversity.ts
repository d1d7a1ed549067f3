/** Diversity: how far apart the pictures of one prompt are. Reward fine-tuning collapses it first. */
import { ShapeError } from "@refl/tensor";
import { type Aggregate, aggregate } from "./aggregate.ts";

/**
 * Mean root-mean-square distance between the pictures of one prompt, over all pairs, then over prompts with its standard error. `rgb` is
 * [prompts * perPrompt, 3, H, W] with a prompt's pictures next to each other; `perPrompt` at least 2.
 */
export function pairwiseDiversity(rgb: Float32Array, prompts: number, perPrompt: number): Aggregate {
  const each = rgb.length / (prompts * perPrompt);
  if (perPrompt < 2 || !Number.isInteger(each) || each === 0) {
    const hint = `needs ${prompts} prompts x ${perPrompt} pictures of one size, at least two pictures each`;
    throw new ShapeError("pairwiseDiversity", [[rgb.length]], hint);
  }
  const ofPrompt: number[] = [];
  for (let p = 0; p < prompts; p++) {
    let sum = 0;
    for (let i = 0; i < perPrompt; i++) {
      for (let j = i + 1; j < perPrompt; j++) {
        const a = (p * perPrompt + i) * each;
        const b = (p * perPrompt + j) * each;
        let squares = 0;
        for (let k = 0; k < each; k++) squares += (rgb[a + k]! - rgb[b + k]!) ** 2;
        sum += Math.sqrt(squares / each);
      }
    }
    ofPrompt.push(sum / ((perPrompt * (perPrompt - 1)) / 2));
  }
  return aggregate(ofPrompt);
}
