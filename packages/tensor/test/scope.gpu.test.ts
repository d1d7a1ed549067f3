/** Who owns what: scopes, results that leave them, `keep`, `using`, and handles that share a storage. */
import { expect, test } from "vitest";
import {
  type Device,
  DisposedError,
  dropout,
  keep,
  layerNorm,
  ones,
  PhiloxStream,
  pad,
  randperm,
  scope,
  stack,
  type Tensor,
  tensor,
  zeros,
} from "../src/index.ts";
import { testDevice } from "./device.ts";

const device: Device = await testDevice("portable");
const live = (): number => device.memory().storages;

test("a scope disposes what it made, except its result", async () => {
  const before = live();
  let inner!: Tensor;
  const result = scope(() => {
    inner = ones(device, [3]);
    return inner.add(1).mul(2);
  });
  expect(inner.disposed).toBe(true);
  expect([...(await result.data())]).toEqual([4, 4, 4]);
  expect(live()).toBe(before + 1);
  result.dispose();
  expect(live()).toBe(before);
});

test("tensors escape in arrays, maps and plain objects, through any depth of scopes", () => {
  const before = live();
  const found = scope(() => {
    const made = scope(() => ({
      list: [ones(device, [1]), [zeros(device, [2])]],
      map: new Map([["m", ones(device, [3])]]),
      n: 1,
    }));
    expect(live()).toBe(before + 3);
    return made;
  });
  const all = [found.list[0] as Tensor, (found.list[1] as Tensor[])[0]!, found.map.get("m")!];
  expect(all.map((t) => t.disposed)).toEqual([false, false, false]);
  expect(live()).toBe(before + 3);
  for (const t of all) t.dispose();
  expect(live()).toBe(before);
});

test("a result passes to the enclosing scope, which ends it", () => {
  const before = live();
  let passed!: Tensor;
  scope(() => {
    passed = scope(() => ones(device, [4]));
    expect(passed.disposed).toBe(false);
  });
  expect(passed.disposed).toBe(true);
  expect(live()).toBe(before);
});

test("tensors from outside stay, also when the scope returns them", () => {
  const outside = ones(device, [2]);
  expect(scope(() => outside)).toBe(outside);
  expect(outside.disposed).toBe(false);
  outside.dispose();
});

test("keep takes a tensor out of all scopes", async () => {
  const before = live();
  let kept!: Tensor;
  scope(() => scope(() => void (kept = keep(ones(device, [2])))));
  expect(await kept.data()).toEqual(Float32Array.of(1, 1));
  kept.dispose();
  expect(live()).toBe(before);
});

test("an error inside disposes everything and passes through, and the outer scope still works", () => {
  const before = live();
  scope(() => {
    expect(() =>
      scope(() => {
        ones(device, [5]).exp();
        throw new RangeError("inside");
      }),
    ).toThrow(new RangeError("inside"));
    expect(live()).toBe(before);
    ones(device, [5]);
  });
  expect(live()).toBe(before);
});

test("an asynchronous function is refused and leaves nothing", () => {
  const before = live();
  expect(() => scope(async () => ones(device, [2]))).toThrow(TypeError);
  expect(live()).toBe(before);
});

test("an op's temporaries end with it", () => {
  const before = live();
  const x = ones(device, [6, 5, 4]);
  const v = x.var([0, 2]);
  expect(live()).toBe(before + 2);
  x.dispose();
  v.dispose();
});

test("functions made of several ops leave no handle behind outside a scope", () => {
  const before = live();
  const [x, v] = [ones(device, [3, 3]), ones(device, [3])];
  const made = [
    x.select(0, 1),
    stack([x, x]),
    dropout(x, 0.5, new PhiloxStream(1)),
    x.matmul(v),
    v.matmul(x),
    v.matmul(v),
    ...x.chunk(3, 0),
    x.flatten(),
    pad(x, [1, 1]),
    layerNorm(x),
    randperm(device, 5, new PhiloxStream(1)),
  ];
  for (const t of [x, v, ...made]) t.dispose();
  expect(live()).toBe(before);
});

test("using ends a tensor with its block; dispose twice is harmless", () => {
  const before = live();
  {
    using t = ones(device, [8]);
    expect(t.disposed).toBe(false);
    expect(live()).toBe(before + 1);
  }
  expect(live()).toBe(before);
  const t = ones(device, [8]);
  t.dispose();
  t.dispose();
  expect(live()).toBe(before);
});

test("views share a storage, which lives as long as the last of them", async () => {
  const before = live();
  const x = tensor(device, [1, 2, 3, 4], [2, 2]);
  const row = x.select(0, 1);
  const copy = x.clone();
  expect(live()).toBe(before + 2);
  x.dispose();
  expect([...(await row.data())]).toEqual([3, 4]);
  row.dispose();
  copy.dispose();
  expect(live()).toBe(before);
});

test("a disposed tensor is named in the error of its use", () => {
  const t = ones(device, [2, 3]);
  t.dispose();
  expect(() => t.add(1)).toThrow(DisposedError);
  expect(() => t.add(1)).toThrow("tensor [2, 3] was disposed");
  t.label = "blocks.0.weight";
  expect(() => t.reshape(6)).toThrow("tensor blocks.0.weight was disposed");
  expect(t.data()).rejects.toThrow(DisposedError);
});
