/** Groups of repeated wishes for diversity, and the taste's score of judged pictures, on renders. */
import { describe, expect, it } from "vitest";
import { stackPlanes } from "../../src/data/pixels.ts";
import { shapes16 } from "../../src/data/shapes16.ts";
import type { Attributes } from "../../src/data/task.ts";
import { judgePicturesOf, repeatedPictures } from "../../src/evaluate/arms.ts";
import { tasteNamed } from "../../src/judge/taste.ts";

const EACH = 3 * 16 * 16;
const wishes = shapes16.combinations("train");

/** Pictures that hold nothing but their number, for the given wishes. */
const numbered = (attributes: readonly Attributes[]) => ({
  attributes,
  rgb: Float32Array.from({ length: attributes.length * EACH }, (_, i) => Math.floor(i / EACH)),
});

describe("repeatedPictures", () => {
  it("gathers equal wishes, wherever they stand, up to four of each", () => {
    // Nine wishes in turn, five rounds; the last wish only twice.
    const asked = Array.from({ length: 45 }, (_, i) => wishes[i % 9]!).filter((_, i) => i % 9 !== 8 || i < 18);
    const found = repeatedPictures(shapes16, numbered(asked))!;
    expect(found).toMatchObject({ prompts: 8, perPrompt: 4 });
    expect(found.rgb).toHaveLength(8 * 4 * EACH);
    for (let place = 0; place < 32; place++) {
      const picture = found.rgb[place * EACH]!;
      expect(asked[picture]).toEqual(wishes[Math.floor(place / 4)]);
      expect(found.rgb.subarray(place * EACH, (place + 1) * EACH).every((x) => x === picture)).toBe(true);
    }
    expect(new Set(Array.from({ length: 32 }, (_, place) => found.rgb[place * EACH])).size).toBe(32);
  });

  it("takes fewer of each where that gives enough wishes, and nothing where none does", () => {
    const twice = Array.from({ length: 16 }, (_, i) => ({ ...wishes[i % 8]! }));
    expect(repeatedPictures(shapes16, numbered(twice))).toMatchObject({ prompts: 8, perPrompt: 2 });
    expect(repeatedPictures(shapes16, numbered(twice.slice(0, 15)))).toBeNull();
    expect(repeatedPictures(shapes16, numbered(wishes.slice(0, 20)))).toBeNull();
    expect(repeatedPictures(shapes16, numbered([]))).toBeNull();
  });
});

describe("judgePicturesOf", () => {
  it("scores each picture by the taste against what was asked of it", () => {
    const asked = [wishes[0]!, wishes[1]!];
    const rgb = stackPlanes([shapes16.render(asked[0]!), shapes16.render(asked[1]!, { washedOut: true })]);
    const judge = judgePicturesOf(shapes16, tasteNamed("judge", shapes16), { rgb, attributes: asked });
    expect(judge.scores[0]).toBeCloseTo(1, 6);
    expect(judge.scores[1]).toBeCloseTo(0.75, 6);
    expect(judge.pictures.map((p) => p.washedOut)).toEqual([false, true]);
    const pale = judgePicturesOf(shapes16, tasteNamed("washed-out", shapes16), { rgb, attributes: asked });
    expect(pale.scores[0]).toBeCloseTo(0.75, 6);
    expect(pale.scores[1]).toBeCloseTo(1, 6);
  });
});
