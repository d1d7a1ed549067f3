/** Comparisons: reading with lines and fields, pairs, the split by prompt, agreement. */
import { DataError } from "@refl/tensor";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  annotatorAgreement,
  type Comparison,
  formatComparisons,
  locateComparisons,
  pairsOf,
  parseComparisons,
  splitPairs,
} from "../../src/data/comparisons.ts";
import { parseJsonRecords } from "../../src/data/json-lines.ts";

const comparison = (id: string, ranking: number[], prompt = `prompt ${id}`, annotator?: string): Comparison => ({
  id,
  prompt,
  generations: ranking.map((_, i) => `${id}/${i}.png`),
  ranking,
  ...(annotator === undefined ? {} : { annotator }),
});

/** The DataError that `read` throws. */
function faultOf(read: () => unknown): DataError {
  try {
    read();
  } catch (error) {
    if (error instanceof DataError) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}

const anyComparison = fc
  .record({
    id: fc.string({ minLength: 1 }),
    prompt: fc.string({ minLength: 1 }),
    ranking: fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 2, maxLength: 9 }),
  })
  .map(({ id, prompt, ranking }) => comparison(id, ranking, prompt));

describe("reading", () => {
  it("gives back what was written, as an array and as JSONL, whatever the texts hold", () => {
    fc.assert(
      fc.property(fc.array(anyComparison, { maxLength: 6 }), (list) => {
        expect(parseComparisons("c.json", formatComparisons(list))).toEqual(list);
        expect(parseComparisons("c.json", JSON.stringify(list, null, 2))).toEqual(list);
        expect(parseComparisons("c.jsonl", list.map((c) => JSON.stringify(c)).join("\r\n"))).toEqual(list);
      }),
      { numRuns: 100 },
    );
  });

  it("knows the lines of records in a pretty-printed array", () => {
    const list = [comparison("a", [1, 2]), comparison("b]},[", [2, 1]), comparison('c"\\', [1, 1])];
    const text = `\ufeff\n${JSON.stringify(list, null, 2)}\n`;
    const lines = text.split("\n");
    for (const { comparison: found, line } of locateComparisons("c.json", text)) {
      expect(lines[line - 1]!.trim()).toBe("{");
      expect(lines[line]).toContain(`"id": ${JSON.stringify(found.id)}`);
    }
  });

  it("names file, line and field of a ranking that does not fit its generations", () => {
    const text = `[\n{"id": "a", "prompt": "p",\n "generations": ["0.png", "1.png"],\n "ranking": [1, 2, 3]}\n]`;
    const fault = faultOf(() => parseComparisons("dir/c.json", text));
    expect(fault).toMatchObject({ file: "dir/c.json", line: 4, field: "ranking", exitCode: 2 });
    expect(fault.message).toContain("has 3 ranks for 2 generations");
  });

  it.each([
    ["[1]", 1, "", /must be an object/],
    ['{"id": "", "prompt": "p"}', 1, "id", /not empty/],
    ['{"id": "a", "prompt": 3}', 1, "prompt", /not empty/],
    ['{"id": "a", "prompt": "p", "generations": ["x"]}', 1, "generations", /at least two/],
    ['{"id": "a", "prompt": "p", "generations": ["x", "x"], "ranking": [1, 2]}', 1, "generations", /occurs twice/],
    ['{"id": "a", "prompt": "p", "generations": ["x", 4], "ranking": [1, 2]}', 1, "generations", /\[1\]/],
    ['{"id": "a", "prompt": "p", "generations": ["x", "y"], "ranking": [1, 0]}', 1, "ranking", /whole number/],
    ['{"id": "a", "prompt": "p", "generations": ["x", "y"], "ranking": [1, 1.5]}', 1, "ranking", /whole number/],
    ['{"id": "a", "prompt": "p", "generations": ["x", "y"], "ranking": "1,2"}', 1, "ranking", /list of ranks/],
    ['\n\n{"id": "a"', 3, "", /is not JSON/],
    ['[\n{"id":"a","prompt":"p","generations":["x","y"],"ranking":[1,2]},\n', 3, "", /cut off/],
    ['[{"id": "unclosed', 1, "", /cut off/],
    ["[\n,\n]", 2, "", /missing here/],
    ["[] x", 1, "", /after the array/],
  ])("refuses %j", (text, line, field, message) => {
    const fault = faultOf(() => parseComparisons("f", text));
    expect(fault).toMatchObject({ line, field });
    expect(fault.message).toMatch(message);
  });

  it("never fails in another way than DataError", () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[[\]{}",:\\0-9a-z\n ]*$/), (text) => {
        try {
          parseComparisons("f", text);
        } catch (error) {
          expect(error).toBeInstanceOf(DataError);
        }
      }),
      { numRuns: 500 },
    );
  });

  it("goes on behind broken records when faults are collected", () => {
    const faults: DataError[] = [];
    const good = JSON.stringify(comparison("a", [1, 2]));
    const found = locateComparisons("f", `${good}\n{oops\n{"id": 1}\n${good}\n`, (fault) => faults.push(fault));
    expect(found.map(({ line }) => line)).toEqual([1, 4]);
    expect(faults.map(({ line }) => line)).toEqual([2, 3]);
  });

  it("reads empty files and arrays as no records", () => {
    for (const text of ["", " \n", "[]", "[ \n ]"]) expect(parseJsonRecords("f", text)).toEqual([]);
  });
});

describe("pairs", () => {
  it("are the strict ones only", () => {
    expect(pairsOf(comparison("a", [2, 1, 2]))).toEqual([
      { id: "a", prompt: "prompt a", better: "a/1.png", worse: "a/0.png" },
      { id: "a", prompt: "prompt a", better: "a/1.png", worse: "a/2.png" },
    ]);
    fc.assert(
      fc.property(anyComparison, (c) => {
        const rankOf = (name: string): number => c.ranking[c.generations.indexOf(name)]!;
        const strict = c.ranking.flatMap((r, i) => c.ranking.slice(i + 1).filter((s) => s !== r)).length;
        const pairs = pairsOf(c);
        expect(pairs.length).toBe(strict);
        for (const { better, worse } of pairs) expect(rankOf(better)).toBeLessThan(rankOf(worse));
      }),
    );
  });

  it("are split by prompt, never by pair", () => {
    const list = Array.from({ length: 60 }, (_, i) => comparison(`${i}`, [1, 2, 3], `A prompt ${i % 20}`));
    const { train, validation } = splitPairs(list);
    expect(train.length + validation.length).toBe(180);
    expect(validation.length).toBe(36);
    const held = new Set(validation.map(({ prompt }) => prompt));
    expect(train.some(({ prompt }) => held.has(prompt))).toBe(false);
    expect(splitPairs([...list].reverse()).validation.length).toBe(36);
    const together = splitPairs(list, { keyOf: (prompt) => (prompt.endsWith("0") ? "zero" : "other") });
    expect(new Set(together.validation.map(({ prompt }) => prompt.endsWith("0"))).size).toBe(1);
    expect(splitPairs([list[0]!]).validation).toEqual([]);
    expect(splitPairs([]).train).toEqual([]);
  });
});

it("agreement counts pairs that two annotators ordered strictly", () => {
  const list = [
    comparison("a", [1, 2, 3], "p", "x"),
    comparison("a", [1, 3, 2], "p", "y"),
    comparison("b", [1, 1], "p", "x"),
    comparison("b", [1, 2], "p", "y"),
    comparison("c", [1, 2], "p", "x"),
  ];
  expect(annotatorAgreement(list)).toEqual({ pairs: 3, rate: 2 / 3 });
  expect(annotatorAgreement([])).toEqual({ pairs: 0, rate: Number.NaN });
});
