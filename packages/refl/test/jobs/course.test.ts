/** What a training takes, told from what the beginning of its rehearsal took. */
import { expect, it } from "vitest";
import { courseOf, type PartSeconds } from "../../src/jobs/course.ts";

const parts = (stage: PartSeconds["stage"], part: PartSeconds["part"], ...seconds: number[]): PartSeconds[] =>
  seconds.map((each) => ({ stage, part, seconds: each }));

it("scales steps of unequal work by what the timed ones took, and counts what comes once", () => {
  // The adapter is twice as slow as its rates; the first step of each of both kinds takes 3 and 4 s longer.
  const told = parts("refl", "step", 1, 2, 1, 2, 3);
  const taken = parts("refl", "step", 5, 8, 2, 4);
  expect(courseOf(told, taken, { step: 100 })).toEqual([
    { stage: "refl", part: "step", times: 100, each: 2 * (9 / 5), once: (3 + 4) * (3 / 2) },
  ]);
});

it("lets work that came twice before stand for what follows, then work that came once", () => {
  const told = parts("reward", "step", 1, 1, 1, 1);
  const of = (...seconds: number[]) => courseOf(told, parts("reward", "step", ...seconds), {})[0]!;
  expect(of(9, 5, 2, 4)).toMatchObject({ each: 3, once: 6 + 2 });
  expect(of(9, 5)).toMatchObject({ each: 5, once: 4 });
  expect(of(9)).toMatchObject({ each: 9, once: 0 });
});

it("tells what was not timed from how far the rates were off with the rest", () => {
  const told = [...parts("refl", "look", 4), ...parts("refl", "step", 1, 1), ...parts("control", "step", 3)];
  const taken = [...parts("refl", "look", 6), ...parts("refl", "step", 1.5)];
  expect(courseOf(told, taken, { look: 5 })).toMatchObject([
    { part: "look", times: 5, each: 6 },
    { part: "step", times: 2, each: 1.5 },
    { stage: "control", part: "step", times: 1, each: 4.5 },
  ]);
});

it("takes the mean of what the host does alone, of which no rate tells", () => {
  const told = parts("annotate", "ranking", 0, 0);
  const [course] = courseOf(told, parts("annotate", "ranking", 1, 2), { ranking: 6 });
  expect(course).toEqual({ stage: "annotate", part: "ranking", times: 6, each: 1.5, once: 0 });
});

it("keeps what was told when nothing was timed", () => {
  expect(courseOf(parts("base", "step", 1, 3), [], { step: 10 })).toMatchObject([{ times: 10, each: 2, once: 0 }]);
});
