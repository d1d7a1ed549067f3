/** Who is let in to a row: checked, in time, and not while still at an earlier one. */
import { expect, it } from "vitest";
import type { Engine, Program } from "../src/engines/engine.ts";
import { Door } from "../src/entry.ts";
import { reference } from "../src/reference/reference.ts";
import type { RowSpec } from "../src/rows.ts";
import { drawInputs, type Work } from "../src/work.ts";

const work: Work = { op: "sum", part: "forward", rows: 2, cols: 3, axis: 1 };
const spec: RowSpec = { name: "sum", family: "reduce", direction: "forward", work, tolerance: 1e-4 };
const inputs = drawInputs(work);
const expected = reference(work, inputs);
const x = inputs["x"]!.data;
const right = [x[0]! + x[1]! + x[2]!, x[3]! + x[4]! + x[5]!];

/** An engine whose result is `read`, and how many of its programs are still held. */
function engine(read: Program["read"]): { engine: Engine; held: () => number } {
  let held = 0;
  const prepare = async (): Promise<Program> => {
    held++;
    return { run: () => {}, read, dispose: () => void held-- };
  };
  return { engine: { name: "e", version: "", sync: async () => {}, prepare, dispose: () => {} }, held: () => held };
}

it("lets in what agrees with the reference", async () => {
  const { engine: e, held } = engine(async () => ({ y: right }));
  const entry = await new Door(1000).enter(e, spec, inputs, expected);
  expect(entry!.error).toBeLessThan(1e-6);
  expect(held()).toBe(1);
  const none = { ...e, prepare: async () => null };
  expect(await new Door(1000).enter(none, spec, inputs, expected)).toBeNull();
});

it("refuses and frees what is wrong, leaves an output out, or throws", async () => {
  const door = new Door(1000);
  const cases: [Program["read"], RegExp][] = [
    [async () => ({ y: [right[0]!, 0] }), /wrong: relative error/],
    [async () => ({ y: [Number.NaN, right[1]!] }), /wrong: relative error/],
    [async () => ({}), /gives no y/],
    [() => Promise.reject(new Error("no kernel")), /no kernel/],
  ];
  for (const [read, message] of cases) {
    const { engine: e, held } = engine(read);
    await expect(door.enter(e, spec, inputs, expected)).rejects.toThrow(message);
    expect(held()).toBe(0);
  }
});

it("leaves out who is late, until its work has ended", async () => {
  let end = (): void => {};
  const { engine: e, held } = engine(
    () =>
      new Promise((resolve) => {
        end = () => resolve({ y: right });
      }),
  );
  const door = new Door(20);
  await expect(door.enter(e, spec, inputs, expected)).rejects.toThrow("no first result in 0.02 s");
  await expect(door.enter(e, { ...spec, name: "next" }, inputs, expected)).rejects.toThrow("still at sum");
  end();
  await new Promise((resolve) => setTimeout(resolve, 5));
  expect(held()).toBe(0);
  await expect(door.enter(e, spec, inputs, expected)).rejects.toThrow("no first result");
});
