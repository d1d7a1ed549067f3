/** The graphs that ONNX Runtime is given. */
import { expect, it } from "vitest";
import { build } from "../src/engines/ort.ts";
import { ROWS } from "../src/rows.ts";

it("has a graph for forward rows alone", () => {
  for (const { name, direction, work } of ROWS)
    if (direction === "backward") expect(build(work, 32), name).toBeNull();
    else if (direction === "forward") expect(build(work, 32)!.nodes.at(-1)!.outputs, name).toEqual(["y"]);
});

it("fuses attention where subgroups have lanes enough for it to be right", () => {
  const work = { op: "attention", part: "forward", heads: 2, tokens: 3, size: 4 } as const;
  const ops = (lanes: number): string[] => build(work, lanes)!.nodes.map(({ op }) => op);
  expect(ops(32)).toEqual(["MultiHeadAttention"]);
  for (const lanes of [0, 4, 8]) expect(ops(lanes)).toEqual(["Transpose", "Mul", "MatMul", "Softmax", "MatMul"]);
});

it("joins the heads for the fused attention, and takes them apart again", () => {
  const { reorder, restore } = build({ op: "attention", part: "forward", heads: 2, tokens: 3, size: 4 }, 32)!;
  const data = Float32Array.from({ length: 24 }, (_, i) => i);
  const joined = reorder!({ shape: [1, 2, 3, 4], data });
  expect(joined.shape).toEqual([1, 3, 8]);
  expect([...joined.data].slice(0, 8)).toEqual([0, 1, 2, 3, 12, 13, 14, 15]);
  expect(restore!(joined.data)).toEqual(data);
});
