/** The picture tasks' common interface: named attributes, captions over a closed vocabulary, and exact renders. */

/** One kind of attribute. `weight` is its share in the judge's alignment; the weights of a task's axes add up to 1. */
export interface Axis {
  readonly name: string;
  readonly values: readonly string[];
  readonly weight: number;
}

/** One value for every axis of a task, by axis name, e.g. `{ object: "apple", background: "blue", layout: "big" }`. */
export type Attributes = Readonly<Record<string, string>>;

/** Shift of the object in whole pixels, [right, down], each in -1..1. */
export type Jitter = readonly [dx: number, dy: number];

/** How a picture is drawn. `washedOut`: low contrast and saturation, towards a pale grey. */
export interface RenderOptions {
  readonly washedOut?: boolean;
  readonly jitter?: Jitter;
}

/** What a caption says. `attributes` is there only when every axis is named; `unknown` lists words outside the vocabulary, `missing` the axes not named. */
export interface ParsedCaption {
  readonly attributes: Attributes | undefined;
  readonly named: Attributes;
  readonly unknown: readonly string[];
  readonly missing: readonly string[];
}

/** A caption with what it asks for. */
export interface Prompt {
  readonly text: string;
  readonly attributes: Attributes;
}

/** The parts that a hash of (object, background) cuts the combinations into. */
export type Split = "train" | "validation" | "test-unseen";

/** The splits that training code may enumerate. */
export type TrainingSplit = "train" | "validation";

/** Size of the object that attributes ask for. */
export type ObjectSize = "big" | "small";

/** Where the object that attributes ask for stands. */
export type ObjectSide = "left" | "centre" | "right";

/** A world of small pictures in which every caption has an exact meaning. All methods are pure; attributes outside the axes throw DataError. */
export interface PictureTask {
  readonly name: string;
  /** Height and width in pixels. */
  readonly size: number;
  /** One sentence for people: what the pictures show. */
  readonly description: string;
  readonly axes: readonly Axis[];
  /** The axes that make up the object; with `background` they decide the split. */
  readonly objectAxes: readonly string[];
  /** Every word that a caption may hold, in a fixed order (lower case, no punctuation). */
  readonly vocabulary: readonly string[];
  /** Most words that a caption of this task has. */
  readonly maxWords: number;
  /** Caption templates 0 .. trainingTemplates - 1 are used in training; the rest, up to `templates`, are word orders that training never shows. */
  readonly trainingTemplates: number;
  readonly templates: number;
  /** Salt of the split's hash. */
  readonly splitSalt: string;
  captionOf(attributes: Attributes, template?: number): string;
  parseCaption(text: string): ParsedCaption;
  /** The picture, uint8 sRGB, size * size * 3 values in HWC order. */
  render(attributes: Attributes, options?: RenderOptions): Uint8Array;
  sizeOf(attributes: Attributes): ObjectSize;
  sideOf(attributes: Attributes): ObjectSide;
  splitOf(attributes: Attributes): Split;
  /** All combinations of a split, in a fixed order. The test split has accessors of its own, which training code cannot import. */
  combinations(split: TrainingSplit): Attributes[];
}
