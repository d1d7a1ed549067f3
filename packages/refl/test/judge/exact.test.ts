/** The exact judge against a search over every template, and the parts it reports. */
import { DataError, ShapeError } from "@refl/tensor";
import { describe, expect, it } from "vitest";
import { allCombinations, JITTERS } from "../../src/data/combinations.ts";
import { stackPlanes } from "../../src/data/pixels.ts";
import { intAt, normalAt, uniformAt } from "../../src/data/random.ts";
import type { Attributes, Jitter, PictureTask } from "../../src/data/task.ts";
import { TASKS } from "../../src/data/tasks.ts";
import { augmentedRender, objectNames } from "../../src/judge/augment.ts";
import { FIDELITY_MSE, judgeOf, judgePictures } from "../../src/judge/exact.ts";

interface Template {
  attributes: Attributes;
  washedOut: boolean;
  jitter: Jitter;
  planes: Float32Array;
}

function templatesOf(task: PictureTask): Template[] {
  return allCombinations(task.axes).flatMap((attributes) =>
    JITTERS.flatMap((jitter) =>
      [false, true].map((washedOut) => ({
        attributes,
        washedOut,
        jitter,
        planes: stackPlanes([task.render(attributes, { washedOut, jitter })]),
      })),
    ),
  );
}

const mseOf = (a: Float32Array, b: Float32Array): number => {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i]! - b[i]!) ** 2;
  return sum / a.length;
};

describe.each(Object.values(TASKS))("$name", (task) => {
  const all = allCombinations(task.axes);

  it("gives a perfect render full marks, and names its jitter and look", () => {
    for (let n = 0; n < 60; n++) {
      const attributes = all[intAt(1, 1, n, all.length)]!;
      const jitter = JITTERS[n % 9]!;
      const washedOut = n % 2 === 1;
      const planes = stackPlanes([task.render(attributes, { washedOut, jitter })]);
      const judged = judgePictures(task, planes, [attributes]).pictures[0]!;
      expect(judged).toMatchObject({ alignment: expect.closeTo(1, 12), vivid: washedOut ? 0 : 1, named: attributes });
      expect(judged).toMatchObject({ washedOut, jitter, vividness: expect.closeTo(washedOut ? 0 : 1, 4) });
      expect(judged.mse).toBeLessThan(1e-10);
      expect(judged.score).toBeCloseTo(washedOut ? 0.75 : 1, 6);
    }
  });

  it("finds the same nearest template as a full search", () => {
    const templates = templatesOf(task);
    expect(judgeOf(task).templateCount).toBe(templates.length);
    const count = 40;
    const pictures = Array.from({ length: count }, (_, n) => {
      if (n % 4 === 0) {
        return Float32Array.from({ length: 3 * task.size ** 2 }, (_, i) => uniformAt(2, n, i));
      }
      const first = templates[intAt(3, 1, n, templates.length)]!.planes;
      const second = templates[intAt(3, 2, n, templates.length)]!.planes;
      const share = n % 4 === 1 ? 0 : uniformAt(3, 3, n) / 2;
      return first.map((v, i) => (1 - share) * v + share * second[i]! + 0.2 * normalAt(4, n, i));
    });
    for (const picture of pictures) {
      const clamped = picture.map((v) => Math.min(1, Math.max(0, v)));
      let best = templates[0]!;
      let least = Number.POSITIVE_INFINITY;
      for (const template of templates) {
        const mse = mseOf(clamped, template.planes);
        if (mse < least) {
          least = mse;
          best = template;
        }
      }
      const judged = judgePictures(task, picture, [all[0]!]).pictures[0]!;
      expect(judged.mse).toBeCloseTo(least, 7);
      expect({ named: judged.named, washedOut: judged.washedOut, jitter: judged.jitter }).toEqual({
        named: best.attributes,
        washedOut: best.washedOut,
        jitter: best.jitter,
      });
      expect(judged.fidelity).toBeCloseTo(Math.exp(-least / FIDELITY_MSE), 6);
    }
  });

  it("takes each wrong attribute's weight from the alignment", () => {
    const attributes = all[0]!;
    const planes = stackPlanes([task.render(attributes)]);
    for (const axis of task.axes) {
      const asked = { ...attributes, [axis.name]: axis.values.at(-1)! };
      const judged = judgePictures(task, planes, [asked]).pictures[0]!;
      expect(judged.alignment).toBeCloseTo(1 - axis.weight, 12);
      expect(judged.right[axis.name]).toBe(0);
      expect(judged.right["object"]).toBe(task.objectAxes.includes(axis.name) ? 0 : 1);
    }
  });

  it("measures vividness continuously between the two looks", () => {
    const attributes = all[1]!;
    const [vivid, washed] = [false, true].map((washedOut) => stackPlanes([task.render(attributes, { washedOut })]));
    for (const share of [0, 0.25, 0.6, 1]) {
      const mixed = vivid!.map((v, i) => share * v + (1 - share) * washed![i]!);
      expect(judgePictures(task, mixed, [attributes]).pictures[0]!.vividness).toBeCloseTo(share, 3);
    }
  });

  it("averages every part with its standard error", () => {
    const planes = stackPlanes([task.render(all[0]!), task.render(all[0]!, { washedOut: true })]);
    const { parts } = judgePictures(task, planes, [all[0]!, all[0]!]);
    expect(Object.keys(parts)).toEqual(
      expect.arrayContaining(["score", "alignment", "vivid", "vividness", "fidelity", "object", "background"]),
    );
    expect(parts["vivid"]).toEqual({ mean: 0.5, standardError: 0.5, count: 2 });
    expect(parts["alignment"]!.mean).toBeCloseTo(1, 12);
  });

  it("refuses batches of another shape and values that are no numbers", () => {
    const planes = stackPlanes([task.render(all[0]!)]);
    expect(() => judgePictures(task, planes, [all[0]!, all[1]!])).toThrow(ShapeError);
    planes[5] = Number.NaN;
    expect(() => judgePictures(task, planes, [all[0]!])).toThrow(DataError);
    expect(judgePictures(task, new Float32Array(), []).pictures).toEqual([]);
  });

  it("streams augmented renders of all objects, deterministic by seed and index", () => {
    const names = objectNames(task);
    const renders = Array.from({ length: 600 }, (_, i) => augmentedRender(task, 3, i));
    expect(new Set(renders.map(({ object }) => object)).size).toBe(names.length);
    for (const { object, label, rgb } of renders) {
      expect(names[label]).toBe(object);
      expect(rgb.length).toBe(3 * task.size ** 2);
    }
    expect(augmentedRender(task, 3, 17)).toEqual(renders[17]);
    expect(augmentedRender(task, 4, 17)).not.toEqual(renders[17]);
    const judged = judgePictures(
      task,
      stackPlanes(renders.slice(0, 100).map(({ rgb }) => rgb)),
      renders.slice(0, 100).map(({ attributes }) => attributes),
    );
    expect(judged.parts["object"]!.mean).toBeGreaterThan(0.6);
    expect(judged.parts["object"]!.mean).toBeLessThan(1);
  });
});
