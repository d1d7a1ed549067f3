/** Prompt files: lines and JSON, and what is refused with its line. */
import { DataError } from "@refl/tensor";
import { describe, expect, it } from "vitest";
import { parsePrompts } from "../../src/data/prompts.ts";

describe("parsePrompts", () => {
  it("reads lines, whatever they begin with", () => {
    expect(parsePrompts("p.txt", '\ufeffa cat\r\n\n  [a] "dog" \n{x}\n')).toEqual(["a cat", '[a] "dog"', "{x}"]);
  });
  it("reads texts and records from JSON and JSONL", () => {
    expect(parsePrompts("p.json", '["a", {"text": "b", "image": "1"},\n{"prompt": " c "}]')).toEqual(["a", "b", "c"]);
    expect(parsePrompts("p.jsonl", '{"text": "a"}\n"b"\n')).toEqual(["a", "b"]);
  });
  it.each([
    ["p.json", '["a",\n{"caption": "b"}]', 2, "prompt"],
    ["p.jsonl", '{"text": "a"}\n{"text": ""}', 2, "text"],
    ["p.jsonl", "3", 1, ""],
    ["p.json", "[", 1, ""],
    ["p.txt", "\n \n", 0, ""],
  ])("%s: %j names line %d", (file, text, line, field) => {
    try {
      parsePrompts(file, text);
      expect.unreachable();
    } catch (error) {
      expect(error).toBeInstanceOf(DataError);
      expect(error).toMatchObject({ file, line, field });
    }
  });
});
