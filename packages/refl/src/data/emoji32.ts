/** The task `emoji32`: 32 x 32 pictures of one emoji on a coloured background, big or small on either side. */
import { unzlibSync } from "fflate";
import { putPixel, type Rgb } from "./colour.ts";
import { allCombinations, checkAttributes, checkJitter, parseWords } from "./combinations.ts";
import { SPRITE_DATA, SPRITE_OBJECTS, SPRITE_SIZES } from "./emoji-sprites.ts";
import { splitByHash } from "./splits/rule.ts";
import type { Attributes, Axis, PictureTask, RenderOptions } from "./task.ts";

const SIZE = 32;

const BACKGROUNDS: Readonly<Record<string, Rgb>> = {
  black: [30, 30, 36],
  blue: [45, 105, 235],
  green: [125, 200, 95],
  pink: [245, 130, 185],
  purple: [125, 65, 190],
  white: [245, 245, 245],
};

/** Where each layout puts the sprite's top left corner before jitter, and which of the sprite's sizes it takes. */
const LAYOUTS: Readonly<Record<string, { sprite: number; x: number; y: number }>> = {
  big: { sprite: 0, x: 2, y: 2 },
  left: { sprite: 1, x: 1, y: 8 },
  right: { sprite: 1, x: 15, y: 8 },
};

const AXES: readonly Axis[] = [
  { name: "object", values: SPRITE_OBJECTS, weight: 0.5 },
  { name: "background", values: Object.keys(BACKGROUNDS), weight: 0.3 },
  { name: "layout", values: Object.keys(LAYOUTS), weight: 0.2 },
];

const OBJECT_AXES = ["object"];
const SPLIT_SALT = "emoji32-973";
const VOCABULARY = [
  ...["a", "on", "the", "with", "background", "big", "small", "left", "right"],
  ...SPRITE_OBJECTS,
  ...Object.keys(BACKGROUNDS),
];

type Template = (object: string, background: string, side: string) => string;

/** Pairs of templates for big objects and for small ones; the last pair is a word order that training never shows. */
const TEMPLATES: readonly { big: Template; small: Template }[] = [
  {
    big: (object, background) => `a big ${object} on a ${background} background`,
    small: (object, background, side) => `a small ${object} ${side} on a ${background} background`,
  },
  {
    big: (object, background) => `big ${object}, ${background} background`,
    small: (object, background, side) => `small ${object} on the ${side}, ${background} background`,
  },
  {
    big: (object, background) => `${background} background with a big ${object}`,
    small: (object, background, side) => `${background} background with a small ${object} ${side}`,
  },
  {
    big: (object, background) => `${object} big, background ${background}`,
    small: (object, background, side) => `on the ${side}, ${object} small, background ${background}`,
  },
];

let sprites: Map<string, Uint8Array[]> | undefined;

/** Straight-alpha RGBA bytes of every object, one array for each of SPRITE_SIZES. */
export function emojiSprites(): ReadonlyMap<string, readonly Uint8Array[]> {
  if (sprites) return sprites;
  const bytes = unzlibSync(Uint8Array.from(atob(SPRITE_DATA), (character) => character.charCodeAt(0)));
  sprites = new Map();
  let offset = 0;
  for (const object of SPRITE_OBJECTS) {
    const ofObject = SPRITE_SIZES.map((size) => {
      const pixels = bytes.subarray(offset, offset + size * size * 4);
      offset += pixels.length;
      return pixels;
    });
    sprites.set(object, ofObject);
  }
  return sprites;
}

function render(attributes: Attributes, options: RenderOptions = {}): Uint8Array {
  checkAttributes("emoji32", AXES, attributes);
  const { washedOut = false, jitter = [0, 0] } = options;
  checkJitter("emoji32", jitter);
  const back = BACKGROUNDS[attributes["background"]!]!;
  const layout = LAYOUTS[attributes["layout"]!]!;
  const sprite = emojiSprites().get(attributes["object"]!)![layout.sprite]!;
  const edge = SPRITE_SIZES[layout.sprite]!;
  const left = layout.x + jitter[0];
  const top = layout.y + jitter[1];
  const out = new Uint8Array(SIZE * SIZE * 3);
  putPixel(out, 0, back, back, 0, washedOut);
  for (let o = 3; o < out.length; o++) out[o] = out[o - 3]!;
  for (let sy = Math.max(0, -top); sy < Math.min(edge, SIZE - top); sy++) {
    for (let sx = Math.max(0, -left); sx < Math.min(edge, SIZE - left); sx++) {
      const i = (sy * edge + sx) * 4;
      if (sprite[i + 3] === 0) continue;
      const front: Rgb = [sprite[i]!, sprite[i + 1]!, sprite[i + 2]!];
      putPixel(out, ((top + sy) * SIZE + left + sx) * 3, front, back, sprite[i + 3]! / 255, washedOut);
    }
  }
  return out;
}

function captionOf(attributes: Attributes, template = 0): string {
  checkAttributes("emoji32", AXES, attributes);
  const { big, small } = TEMPLATES[template % TEMPLATES.length]!;
  const { object, background, layout } = attributes as { object: string; background: string; layout: string };
  return (layout === "big" ? big : small)(object, background, layout);
}

/** 12 objects x 6 backgrounds x 3 layouts. */
export const emoji32: PictureTask = {
  name: "emoji32",
  size: SIZE,
  description: "one emoji on a coloured background: big in the middle, or small on the left or the right",
  axes: AXES,
  objectAxes: OBJECT_AXES,
  vocabulary: VOCABULARY,
  maxWords: 8,
  trainingTemplates: TEMPLATES.length - 1,
  templates: TEMPLATES.length,
  splitSalt: SPLIT_SALT,
  captionOf,
  parseCaption: (text) => parseWords(text, AXES, VOCABULARY),
  render,
  sizeOf: (attributes) => (attributes["layout"] === "big" ? "big" : "small"),
  sideOf: ({ layout }) => (layout === "left" || layout === "right" ? layout : "centre"),
  splitOf: (attributes) => splitByHash(SPLIT_SALT, OBJECT_AXES, attributes),
  combinations: (split) =>
    allCombinations(AXES).filter((attributes) => splitByHash(SPLIT_SALT, OBJECT_AXES, attributes) === split),
};
