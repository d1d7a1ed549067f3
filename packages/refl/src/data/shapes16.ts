/** The task `shapes16`: 16 x 16 pictures of one coloured shape on a background, drawn by formula; small enough for tests. */

import { putPixel, type Rgb } from "./colour.ts";
import { allCombinations, checkAttributes, checkJitter, parseWords } from "./combinations.ts";
import { splitByHash } from "./splits/rule.ts";
import type { Attributes, Axis, PictureTask, RenderOptions } from "./task.ts";

const SIZE = 16;
const SAMPLES = 8;

const COLOURS: Readonly<Record<string, Rgb>> = {
  cyan: [40, 215, 220],
  green: [35, 160, 60],
  orange: [250, 135, 25],
  purple: [150, 45, 190],
  red: [225, 35, 40],
  yellow: [250, 220, 45],
};

const BACKGROUNDS: Readonly<Record<string, Rgb>> = {
  black: [25, 25, 30],
  blue: [40, 85, 225],
  grey: [160, 160, 160],
  pink: [250, 170, 205],
  white: [250, 250, 250],
};

/** Half the edge of the shape's bounding square, in pixels. */
const HALF_EDGES: Readonly<Record<string, number>> = { big: 6, small: 3.5 };

/** Whether a point is inside; x to the right and y down from the centre, -1..1 in the bounding square. */
const SHAPES: Readonly<Record<string, (x: number, y: number) => boolean>> = {
  circle: (x, y) => x * x + y * y <= 1,
  cross: (x, y) => Math.max(Math.abs(x), Math.abs(y)) <= 1 && Math.min(Math.abs(x), Math.abs(y)) <= 0.3,
  diamond: (x, y) => Math.abs(x) + Math.abs(y) <= 1,
  ring: (x, y) => x * x + y * y <= 1 && x * x + y * y >= 0.3,
  square: (x, y) => Math.max(Math.abs(x), Math.abs(y)) <= 1,
  triangle: (x, y) => y <= 0.9 && y >= -1 && Math.abs(x) <= (y + 1) / 1.9,
};

const AXES: readonly Axis[] = [
  { name: "shape", values: Object.keys(SHAPES), weight: 0.35 },
  { name: "colour", values: Object.keys(COLOURS), weight: 0.25 },
  { name: "background", values: Object.keys(BACKGROUNDS), weight: 0.25 },
  { name: "size", values: Object.keys(HALF_EDGES), weight: 0.15 },
];

const OBJECT_AXES = ["colour", "shape"];
const SPLIT_SALT = "shapes16-2646";
const VOCABULARY = [
  ...["a", "on", "with", "background"],
  ...Object.keys(HALF_EDGES),
  ...Object.keys(COLOURS),
  ...Object.keys(SHAPES),
  ...Object.keys(BACKGROUNDS),
];

/** The last template is a word order that training never shows. */
const TEMPLATES: readonly ((a: Attributes) => string)[] = [
  (a) => `a ${a["size"]} ${a["colour"]} ${a["shape"]} on a ${a["background"]} background`,
  (a) => `${a["size"]} ${a["colour"]} ${a["shape"]}, ${a["background"]} background`,
  (a) => `${a["background"]} background with a ${a["size"]} ${a["colour"]} ${a["shape"]}`,
  (a) => `${a["shape"]} ${a["size"]} ${a["colour"]}, background ${a["background"]}`,
];

/** Share of pixel (x, y) that the shape covers, 0..1, counted on a SAMPLES x SAMPLES grid; x and y from the shape's centre. */
function coverage(shape: (x: number, y: number) => boolean, halfEdge: number, x: number, y: number): number {
  let inside = 0;
  for (let j = 0; j < SAMPLES; j++) {
    for (let i = 0; i < SAMPLES; i++) {
      if (shape((x + (i + 0.5) / SAMPLES) / halfEdge, (y + (j + 0.5) / SAMPLES) / halfEdge)) inside++;
    }
  }
  return inside / (SAMPLES * SAMPLES);
}

const masks = new Map<string, Float64Array>();

/** Coverage of the shape centred in a square one pixel wider than the picture on each side, so that jitter only shifts it. */
function maskOf(shape: string, size: string): Float64Array {
  const key = `${shape} ${size}`;
  let mask = masks.get(key);
  if (!mask) {
    const wide = SIZE + 2;
    mask = new Float64Array(wide * wide);
    for (let y = 0; y < wide; y++) {
      for (let x = 0; x < wide; x++) {
        mask[y * wide + x] = coverage(SHAPES[shape]!, HALF_EDGES[size]!, x - wide / 2, y - wide / 2);
      }
    }
    masks.set(key, mask);
  }
  return mask;
}

function render(attributes: Attributes, options: RenderOptions = {}): Uint8Array {
  checkAttributes("shapes16", AXES, attributes);
  const { washedOut = false, jitter = [0, 0] } = options;
  checkJitter("shapes16", jitter);
  const front = COLOURS[attributes["colour"]!]!;
  const back = BACKGROUNDS[attributes["background"]!]!;
  const mask = maskOf(attributes["shape"]!, attributes["size"]!);
  const out = new Uint8Array(SIZE * SIZE * 3);
  for (let y = 0; y < SIZE; y++) {
    for (let x = 0; x < SIZE; x++) {
      const alpha = mask[(y + 1 - jitter[1]) * (SIZE + 2) + (x + 1 - jitter[0])]!;
      putPixel(out, (y * SIZE + x) * 3, front, back, alpha, washedOut);
    }
  }
  return out;
}

/** 6 shapes x 6 colours x 5 backgrounds x 2 sizes, in the middle of the picture. */
export const shapes16: PictureTask = {
  name: "shapes16",
  size: SIZE,
  description: "one coloured shape, big or small, in the middle of a coloured background",
  axes: AXES,
  objectAxes: OBJECT_AXES,
  vocabulary: VOCABULARY,
  maxWords: 8,
  trainingTemplates: TEMPLATES.length - 1,
  templates: TEMPLATES.length,
  splitSalt: SPLIT_SALT,
  captionOf: (attributes, template = 0) => {
    checkAttributes("shapes16", AXES, attributes);
    return TEMPLATES[template % TEMPLATES.length]!(attributes);
  },
  parseCaption: (text) => parseWords(text, AXES, VOCABULARY),
  render,
  sizeOf: (attributes) => (attributes["size"] === "big" ? "big" : "small"),
  sideOf: () => "centre",
  splitOf: (attributes) => splitByHash(SPLIT_SALT, OBJECT_AXES, attributes),
  combinations: (split) =>
    allCombinations(AXES).filter((attributes) => splitByHash(SPLIT_SALT, OBJECT_AXES, attributes) === split),
};
