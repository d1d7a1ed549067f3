/** The exact judge: the nearest of all renders names what a picture shows, and its distance says how faithful the picture is. */
import { DataError, ShapeError } from "@refl/tensor";
import { allCombinations, JITTERS } from "../data/combinations.ts";
import type { Attributes, Jitter, PictureTask } from "../data/task.ts";
import { type Aggregate, aggregateParts } from "./aggregate.ts";

/** Weights of the score's parts; they add up to 1. */
export const SCORE_WEIGHTS = { alignment: 0.55, vivid: 0.25, fidelity: 0.2 } as const;

/** Mean squared error (pictures in 0..1) at which fidelity has fallen to 1/e. */
export const FIDELITY_MSE = 0.05;

/** What the judge says of one picture. All numbers are 0..1 unless said otherwise. */
export interface JudgedPicture {
  /** 0.55 alignment + 0.25 vivid + 0.20 fidelity. */
  readonly score: number;
  /** Weighted share of the attributes that are as asked. */
  readonly alignment: number;
  /** 1 where the named attribute is the one asked for, by axis; `object` is 1 when all axes of the object are right. */
  readonly right: Readonly<Record<string, number>>;
  /** 1 if the nearest render is a vivid one, 0 if it is a washed-out one. */
  readonly vivid: number;
  /** Where the picture lies on the line from the nearest washed-out render (0) to the vivid one of the same attributes (1), clamped. */
  readonly vividness: number;
  /** exp(-mse / 0.05). */
  readonly fidelity: number;
  /** Mean squared error to the nearest render. */
  readonly mse: number;
  /** What the picture shows: the nearest render's attributes, look and jitter. */
  readonly named: Attributes;
  readonly washedOut: boolean;
  readonly jitter: Jitter;
}

/** Pictures judged, and the mean and standard error of every part. */
export interface Judgement {
  readonly pictures: readonly JudgedPicture[];
  readonly parts: Readonly<Record<string, Aggregate>>;
}

/** Templates that differ in background and look only: same object, layout and jitter. Looks are numbered background * 2 + (washed out ? 1 : 0). */
interface Group {
  readonly attributes: Attributes;
  readonly jitter: Jitter;
  /** Pixels where no background shows: one value for all vivid looks and one for all washed-out looks. */
  readonly shared: Int32Array;
  readonly sharedVivid: Float64Array;
  readonly sharedWashed: Float64Array;
  /** Pixels where object and background mix: values of their own in every look. */
  readonly edge: Int32Array;
  readonly edgeValues: readonly Float64Array[];
  readonly norms: Float64Array;
}

function buildGroup(
  task: PictureTask,
  attributes: Attributes,
  jitter: Jitter,
  backgrounds: readonly string[],
  plain: readonly (readonly [number, number, number])[],
): Group {
  const looks = backgrounds.flatMap((background) =>
    [false, true].map((washedOut) => task.render({ ...attributes, background }, { washedOut, jitter })),
  );
  const shared: number[] = [];
  const edge: number[] = [];
  for (let pixel = 0; pixel < task.size * task.size; pixel++) {
    const o = pixel * 3;
    const equal = (rgb: Uint8Array, colour: ArrayLike<number>, at: number): boolean =>
      rgb[o] === colour[at] && rgb[o + 1] === colour[at + 1] && rgb[o + 2] === colour[at + 2];
    if (looks.every((rgb, look) => equal(rgb, plain[look]!, 0))) continue;
    if (looks.every((rgb, look) => equal(rgb, looks[look % 2]!, o))) shared.push(pixel);
    else edge.push(pixel);
  }
  const valuesAt = (rgb: Uint8Array, pixels: readonly number[]): Float64Array =>
    Float64Array.from(pixels.flatMap((pixel) => [rgb[pixel * 3]!, rgb[pixel * 3 + 1]!, rgb[pixel * 3 + 2]!]));
  return {
    attributes,
    jitter,
    shared: Int32Array.from(shared),
    sharedVivid: valuesAt(looks[0]!, shared),
    sharedWashed: valuesAt(looks[1]!, shared),
    edge: Int32Array.from(edge),
    edgeValues: looks.map((rgb) => valuesAt(rgb, edge)),
    norms: Float64Array.from(looks, (rgb) => rgb.reduce((sum, value) => sum + value * value, 0)),
  };
}

const dot = (a: Float64Array, b: Float64Array, length: number): number => {
  let sum = 0;
  for (let i = 0; i < length; i++) sum += a[i]! * b[i]!;
  return sum;
};

/**
 * Compares pictures with every template of a task: all combinations, all jitters, vivid and washed out.
 *
 * No template is skipped. ‖x − t‖² = ‖x‖² − 2 x·t + ‖t‖², and x·t is cut by kinds of pixels: where every look of a group shows its plain
 * background, x·t is the background's colour times a sum over x; where the object hides the background, one product serves all backgrounds;
 * only the mixed edge is multiplied look by look. The kinds are found by comparing the rendered bytes themselves, so each of the three sums
 * holds exactly that template's bytes, and the result is the full search's up to float64 rounding (about 1e-15 relative).
 */
export class ExactJudge {
  readonly task: PictureTask;
  private readonly backgrounds: readonly string[];
  private readonly plain: readonly (readonly [number, number, number])[];
  private readonly groups: readonly Group[];
  /** Scratch: one picture 0..255 as interleaved RGB, and its shared and edge pixels gathered. */
  private readonly picture: Float64Array;
  private readonly gathered: Float64Array;
  private readonly distances: Float64Array;

  constructor(task: PictureTask) {
    this.task = task;
    const background = task.axes.find((axis) => axis.name === "background");
    if (!background) throw new DataError(task.name, 0, "axes", "the judge needs an axis named background");
    this.backgrounds = background.values;
    const fronts = allCombinations(task.axes.filter((axis) => axis !== background));
    // The plain colour of a look is taken from a corner: a wrong guess would cost time, not exactness.
    this.plain = this.backgrounds.flatMap((name) =>
      [false, true].map((washedOut): [number, number, number] => {
        const rgb = task.render({ ...fronts[0], background: name }, { washedOut });
        return [rgb[0]!, rgb[1]!, rgb[2]!];
      }),
    );
    this.groups = fronts.flatMap((front) =>
      JITTERS.map((jitter) => buildGroup(task, front, jitter, this.backgrounds, this.plain)),
    );
    const values = task.size * task.size * 3;
    this.picture = new Float64Array(values);
    this.gathered = new Float64Array(values);
    this.distances = new Float64Array(this.plain.length);
  }

  /** How many templates a picture is compared with. */
  get templateCount(): number {
    return this.groups.length * this.plain.length;
  }

  /** Squared distances (bytes squared, summed over all values) from the picture to every look of a group, into `distances`. */
  private measure(group: Group, pictureNorm: number, totals: readonly [number, number, number]): void {
    const { picture, gathered, plain, distances } = this;
    let [r, g, b] = totals;
    const gather = (pixels: Int32Array): number => {
      let n = 0;
      for (let i = 0; i < pixels.length; i++) {
        const o = pixels[i]! * 3;
        r -= gathered[n++] = picture[o]!;
        g -= gathered[n++] = picture[o + 1]!;
        b -= gathered[n++] = picture[o + 2]!;
      }
      return n;
    };
    const sharedLength = gather(group.shared);
    const vivid = dot(gathered, group.sharedVivid, sharedLength);
    const washed = dot(gathered, group.sharedWashed, sharedLength);
    const edgeLength = gather(group.edge);
    for (let look = 0; look < plain.length; look++) {
      const colour = plain[look]!;
      const product =
        (look % 2 === 0 ? vivid : washed) +
        r * colour[0] +
        g * colour[1] +
        b * colour[2] +
        dot(gathered, group.edgeValues[look]!, edgeLength);
      distances[look] = pictureNorm - 2 * product + group.norms[look]!;
    }
  }

  /** Judges picture `index` of a batch of floats 0..1 [N, 3, H, W] (clamped) against what `asked` says. */
  judge(rgb: Float32Array, index: number, asked: Attributes): JudgedPicture {
    const { task, picture, distances } = this;
    const pixels = task.size * task.size;
    const offset = index * pixels * 3;
    const totals: [number, number, number] = [0, 0, 0];
    let norm = 0;
    for (let c = 0; c < 3; c++) {
      for (let i = 0; i < pixels; i++) {
        const value = rgb[offset + c * pixels + i]!;
        if (!Number.isFinite(value)) throw new DataError(`picture ${index}`, 0, "", "holds NaN or infinity");
        const byte = 255 * Math.min(1, Math.max(0, value));
        picture[i * 3 + c] = byte;
        totals[c]! += byte;
        norm += byte * byte;
      }
    }
    let best = Number.POSITIVE_INFINITY;
    let bestGroup = this.groups[0]!;
    let bestLook = 0;
    for (const group of this.groups) {
      this.measure(group, norm, totals);
      for (let look = 0; look < distances.length; look++) {
        if (distances[look]! < best) {
          best = distances[look]!;
          bestGroup = group;
          bestLook = look;
        }
      }
    }
    this.measure(bestGroup, norm, totals);
    const background = bestLook >> 1;
    const toVivid = distances[background * 2]!;
    const toWashed = distances[background * 2 + 1]!;
    const named: Attributes = { ...bestGroup.attributes, background: this.backgrounds[background]! };
    const between = this.lookDistance(named, bestGroup.jitter);
    const vividness = Math.min(1, Math.max(0, (toWashed - toVivid + between) / (2 * between)));
    const mse = Math.max(0, best) / (255 * 255 * pixels * 3);
    return this.score(asked, named, bestLook % 2 === 1, bestGroup.jitter, mse, vividness);
  }

  /** Squared distance between the vivid and the washed-out render. */
  private lookDistance(attributes: Attributes, jitter: Jitter): number {
    const vivid = this.task.render(attributes, { jitter });
    const washed = this.task.render(attributes, { jitter, washedOut: true });
    return vivid.reduce((sum, value, i) => sum + (value - washed[i]!) ** 2, 0);
  }

  private score(
    asked: Attributes,
    named: Attributes,
    washedOut: boolean,
    jitter: Jitter,
    mse: number,
    vividness: number,
  ): JudgedPicture {
    const right: Record<string, number> = {};
    let alignment = 0;
    for (const { name, weight } of this.task.axes) {
      right[name] = named[name] === asked[name] ? 1 : 0;
      alignment += weight * right[name];
    }
    right["object"] = this.task.objectAxes.every((axis) => right[axis] === 1) ? 1 : 0;
    const vivid = washedOut ? 0 : 1;
    const fidelity = Math.exp(-mse / FIDELITY_MSE);
    const score = SCORE_WEIGHTS.alignment * alignment + SCORE_WEIGHTS.vivid * vivid + SCORE_WEIGHTS.fidelity * fidelity;
    return { score, alignment, right, vivid, vividness, fidelity, mse, named, washedOut, jitter };
  }
}

const judges = new WeakMap<PictureTask, ExactJudge>();

/** The task's judge, built on first use. */
export function judgeOf(task: PictureTask): ExactJudge {
  let judge = judges.get(task);
  if (!judge) judges.set(task, (judge = new ExactJudge(task)));
  return judge;
}

/**
 * Judges a batch of pictures, floats 0..1 [N, 3, H, W], against N prompts' attributes. `parts` holds score, alignment, vivid, vividness,
 * fidelity, object and every axis. ShapeError when the batch does not hold N pictures of the task's size; DataError for NaN or infinity.
 */
export function judgePictures(task: PictureTask, rgb: Float32Array, asked: readonly Attributes[]): Judgement {
  const each = 3 * task.size * task.size;
  if (rgb.length !== asked.length * each) {
    const hint = `${asked.length} prompts need [${asked.length}, 3, ${task.size}, ${task.size}]`;
    throw new ShapeError("judgePictures", [[rgb.length]], hint);
  }
  const judge = judgeOf(task);
  const pictures = asked.map((attributes, n) => judge.judge(rgb, n, attributes));
  return { pictures, parts: aggregateParts(pictures.map(partsOf)) };
}

/** The numbers of a judged picture that reports average. */
export function partsOf(judged: JudgedPicture): Record<string, number> {
  const { score, alignment, vivid, vividness, fidelity, right } = judged;
  return { score, alignment, vivid, vividness, fidelity, ...right };
}
