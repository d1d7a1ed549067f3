/** The report's colours are readable: contrast by WCAG 2.1 in both schemes; and the judge's aggregates fit the summary. */
import { DataError } from "@refl/tensor";
import { expect, it } from "vitest";
import { aggregateParts } from "../../src/judge/aggregate.ts";
import { armJudgement } from "../../src/report/index.ts";
import { REPORT_STYLE } from "../../src/report/style.ts";

function luminance(hex: string): number {
  const [r, g, b] = [1, 3, 5].map((i) => {
    const c = Number.parseInt(hex.slice(i, i + 2), 16) / 255;
    return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r! + 0.7152 * g! + 0.0722 * b!;
}

const contrast = (a: string, b: string): number => {
  const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (high! + 0.05) / (low! + 0.05);
};

const schemes = [...REPORT_STYLE.matchAll(/:root \{([^}]*)\}/g)].map(([, body]) =>
  Object.fromEntries([...body!.matchAll(/--([a-z]+): (#[0-9a-f]{6})/g)].map(([, name, value]) => [name!, value!])),
);

it.each(["light", "dark"])("has a contrast of 4.5 for texts and lines on every ground, %s", (name) => {
  const colours = schemes[name === "light" ? 0 : 1]!;
  for (const ground of ["ground", "card"])
    for (const ink of ["text", "soft", "judge", "reward", "control", "event", "good", "bad"])
      expect(contrast(colours[ground]!, colours[ink]!), `${ink} on ${ground}`).toBeGreaterThanOrEqual(4.5);
  expect(contrast(colours["tint"]!, colours["text"]!)).toBeGreaterThanOrEqual(4.5);
});

it("turns the judge's aggregates into an arm's entry", () => {
  const parts = aggregateParts([
    { score: 0.2, vivid: 1 },
    { score: 0.4, vivid: 0 },
  ]);
  const entry = armJudgement(parts, { frechetDistance: 12 });
  expect(entry).toMatchObject({ pictures: 2, parts: { frechetDistance: { mean: 12, standardError: null, count: 2 } } });
  expect(entry.score).toBeCloseTo(0.3);
  expect(entry.standardError).toBeCloseTo(0.1);
  expect(() => armJudgement({})).toThrow(DataError);
});
