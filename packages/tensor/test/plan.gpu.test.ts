/** Capture and replay: the same bits as op by op, memory that stays, and what cannot be captured. */
import fc from "fast-check";
import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import {
  CaptureError,
  capture,
  constant,
  conv2d,
  createDevice,
  type Device,
  DisposedError,
  keep,
  layerNorm,
  OutOfMemoryError,
  PhiloxStream,
  Plan,
  ReplayedFunction,
  randn,
  resize,
  type Shape,
  ShapeError,
  scope,
  softmax,
  Tensor,
  tensor,
  zeros,
} from "../src/index.ts";
import { nodeHost } from "../src/node.ts";
import { testDevice } from "./device.ts";

let device: Device;
beforeAll(async () => {
  device = await testDevice();
  // Resampling keeps its tables.
  scope(() => void resize(tensor(device, numbers(96, 0), [1, 1, 12, 8]), [6, 4], { mode: "bicubic", antialias: true }));
  scope(
    () => void resize(tensor(device, numbers(192, 0), [1, 1, 12, 16]), [6, 8], { mode: "bicubic", antialias: true }),
  );
});

let before: { inUse: number; storages: number };
beforeEach(() => {
  const { inUse, storages } = device.memory();
  before = { inUse, storages };
});
afterEach(() => expect(device.memory()).toMatchObject(before));

const numbers = (count: number, seed: number): Float32Array =>
  Float32Array.from({ length: count }, (_, i) => Math.sin(i * 12.9898 + seed * 78.233) * 3);

const random = (shape: Shape, stream: number): Tensor => keep(randn(device, shape, new PhiloxStream(7, stream)));

const bits = async (t: Tensor): Promise<number[]> => {
  const data = await t.data();
  return [...new Uint32Array(data.buffer, data.byteOffset, data.length)];
};

/** Two layers with a norm, an attention-like product and a convolution: every way in which kernels share buffers. */
function network(x: Tensor, weight: Tensor, filter: Tensor): Tensor {
  const hidden = layerNorm(x.matmul(weight).gelu(), null, null);
  const mixed = softmax(hidden.matmul(hidden.transpose(0, 1)), 1).matmul(hidden);
  const picture = mixed.reshape(1, 1, 12, 16).expand(1, 2, 12, 16);
  const filtered = conv2d(picture, filter, null, { padding: 1 });
  return resize(filtered, [6, 8], { mode: "bicubic", antialias: true }).add(x.mean());
}

describe("a plan", () => {
  it("gives the bits of the function, replay after replay, while other work uses the device", async () => {
    const weight = random([8, 16], 1);
    const filter = random([3, 2, 3, 3], 2);
    using plan = capture(device, { x: { shape: [12, 8] } }, ({ x }) => {
      const y = network(x, weight, filter);
      return { y, sum: y.sum() };
    });
    for (let i = 0; i < 4; i++) {
      const values = numbers(96, i);
      const expected = scope(() => {
        const y = network(tensor(device, values, [12, 8]), weight, filter);
        return { y, sum: y.sum() };
      });
      const { y, sum } = plan.replay({ x: values });
      const noise = random([64, 64], i);
      noise.matmul(noise).dispose();
      noise.dispose();
      expect(await bits(y)).toEqual(await bits(expected.y));
      expect(await bits(sum)).toEqual(await bits(expected.sum));
      expected.y.dispose();
      expected.sum.dispose();
    }
    weight.dispose();
    filter.dispose();
  });

  it("writes to tensors of outside in place, and keeps them alive", async () => {
    const state = keep(tensor(device, [1, 2, 3, 4]));
    const other = state.alias();
    using plan = capture(device, { rate: { shape: [] } }, ({ rate }) => {
      state.copy_(state.mul(rate));
      return {};
    });
    plan.replay({ rate: [2] });
    plan.replay({ rate: [3] });
    expect([...(await other.data())]).toEqual([6, 12, 18, 24]);
    state.dispose();
    other.dispose();
    plan.replay({ rate: [1] });
  });

  it("leaves out what nobody reads, and plans memory near the least there is", () => {
    const weight = random([64, 64], 1);
    using plan = capture(device, { x: { shape: [64, 64] } }, ({ x }) => {
      x.exp().sum();
      let y = x;
      for (let i = 0; i < 20; i++) y = y.matmul(weight).relu();
      return { y };
    });
    expect(plan.steps.some((step) => step.kind === "dispatch" && step.program.pipeline.label.includes("exp"))).toBe(
      false,
    );
    expect(plan.steps).toHaveLength(40);
    const { planned, lowerBound } = plan.memory;
    expect(planned / lowerBound).toBeLessThanOrEqual(1.15);
    expect(planned).toBe(2 * 64 * 64 * 4);
    weight.dispose();
  });

  it("takes tensors as inputs too, integers, and none at all", async () => {
    using plan = capture(device, { ids: { shape: [3], dtype: "i32" } }, ({ ids }) => ({ twice: ids.mul(2) }));
    using ids = tensor(device, Int32Array.of(4, 5, 6));
    expect([...(await plan.replay({ ids }).twice.data())]).toEqual([8, 10, 12]);
    expect([...(await plan.replay({ ids: [1, 2, 3] }).twice.data())]).toEqual([2, 4, 6]);
    const one = constant(device, [1], []);
    using none = capture(device, {}, () => ({ two: one.add(1) }));
    one.dispose();
    expect(await none.replay({}).two.item()).toBe(2);
  });

  it("makes constants a part of itself, and random numbers of words that are inputs", async () => {
    using plan = capture(device, { words: { shape: [2, 4], dtype: "u32" } }, ({ words }) => ({
      noise: randn(device, [2, 5], words).mul(constant(device, [1, 10], [2, 1])),
    }));
    for (const seed of [1, 2]) {
      const streams = [new PhiloxStream(seed, 3), new PhiloxStream(seed, 4)];
      const { noise } = plan.replay({ words: streams.flatMap((s) => [...s.words, 0]) });
      const expected = scope(() => randn(device, [2, 5], streams).mul(tensor(device, [[1], [10]])));
      expect(await bits(noise)).toEqual(await bits(expected));
      expected.dispose();
    }
  });

  it("holds no more after 10,000 replays than after one", async () => {
    const state = keep(tensor(device, [0]));
    using plan = capture(device, { x: { shape: [1] } }, ({ x }) => {
      state.add_(x);
      return { double: state.mul(2) };
    });
    plan.replay({ x: [1] });
    const held = device.memory();
    for (let i = 1; i < 10_000; i++) {
      plan.replay({ x: [1] });
      if (i % 500 === 0) await device.sync();
    }
    expect(device.memory()).toEqual(held);
    expect(await plan.outputs.double.item()).toBe(20_000);
    state.dispose();
  });
});

describe("an arena", () => {
  it("is shared by plans that run in turn, the smaller first", async () => {
    const arena = device.createArena();
    const make = (size: number) =>
      capture(device, { x: { shape: [size] } }, ({ x }) => ({ y: x.exp().log().mul(2) }), { arena });
    const small = make(100);
    const alone = arena.bytes;
    expect([...(await small.replay({ x: numbers(100, 1) }).y.data())]).toHaveLength(100);
    const large = make(1000);
    expect(arena.bytes).toBe(large.memory.planned);
    expect(arena.bytes).toBeGreaterThan(alone);
    const first = await bits(large.replay({ x: numbers(1000, 2) }).y);
    const { y } = small.replay({ x: numbers(1000, 2).slice(0, 100) });
    expect(await bits(y)).toEqual(first.slice(0, 100));
    small.dispose();
    expect(await bits(large.replay({ x: numbers(1000, 2) }).y)).toEqual(first);
    large.dispose();
    arena.dispose();
  });
});

describe("what cannot be captured is refused", () => {
  const inputs = { x: { shape: [2] } } as const;
  const refused: Record<string, (x: Tensor) => Tensor> = {
    "host values": (x) => x.add(tensor(device, [1, 2])),
    "written values": (x) => x.mul(1).write_([1, 2]),
    "random streams": (x) => x.add(randn(device, [2], new PhiloxStream(1))),
    "another capture": (x) => {
      capture(device, inputs, ({ x: y }) => ({ y })).dispose();
      return x;
    },
    "reading back": (x) => {
      x.data().catch(() => {});
      return x;
    },
    waiting: (x) => {
      device.sync().catch(() => {});
      return x;
    },
  };
  it.each(Object.keys(refused))("%s", (name) => {
    const dispatches = device.counters.dispatches;
    const run = () => capture(device, inputs, ({ x }) => ({ y: refused[name]!(x) }), { label: "a step" });
    expect(run).toThrow(CaptureError);
    expect(run).toThrow("capture of a step");
    expect(device.counters.dispatches).toBe(dispatches);
  });

  it("other errors come through, and the device goes on", async () => {
    const failing = () =>
      capture(device, inputs, () => {
        throw new RangeError("no");
      });
    expect(failing).toThrow(RangeError);
    const left: Tensor[] = [];
    const half = () =>
      capture(device, inputs, ({ x }) => {
        left.push(keep(x.mul(2)));
        throw new RangeError("no");
      });
    expect(half).toThrow(RangeError);
    expect(() => left[0]!.add(1)).toThrow(CaptureError);
    left[0]!.dispose();
    using x = tensor(device, [1, 2]);
    using sum = x.sum();
    expect(await sum.item()).toBe(3);
  });
});

describe("a plan that does not fit the budget", () => {
  it("holds nothing, and a smaller one fits", async () => {
    const small = await createDevice({ host: nodeHost(), memoryBudget: 2 ** 18 });
    const state = keep(zeros(small, [16]));
    const held = small.memory().inUse;
    const make = (size: number) =>
      capture(small, { x: { shape: [size] } }, ({ x }) => {
        state.add_(x.slice(0, 0, 16));
        return { y: x.exp().add(x.sin()).mul(x.cos()).sum() };
      });
    expect(() => make(2 ** 14)).toThrow(OutOfMemoryError);
    expect(small.memory().inUse).toBe(held);
    using plan = make(2 ** 10);
    expect(await plan.replay({ x: new Float32Array(2 ** 10) }).y.item()).toBe(2 ** 10);
    small.dispose();
  });
});

describe("a replay refuses", () => {
  it("values of another size, missing and unknown inputs, and a plan that is gone", () => {
    const plan = capture(device, { x: { shape: [2, 3] } }, ({ x }) => ({ y: x.add(1) }));
    expect(() => plan.replay({ x: [1, 2] })).toThrow(ShapeError);
    using turned = tensor(device, [1, 2, 3, 4, 5, 6], [3, 2]);
    expect(() => plan.replay({ x: turned })).toThrow(ShapeError);
    expect(() => plan.replay({} as { x: number[] })).toThrow("input x is missing");
    const more = { x: [1, 2, 3, 4, 5, 6], y: [1] };
    expect(() => plan.replay(more)).toThrow("no input y");
    plan.dispose();
    plan.dispose();
    expect(() => plan.replay({ x: [1, 2, 3, 4, 5, 6] })).toThrow(DisposedError);
    expect(plan).toBeInstanceOf(Plan);
  });
});

describe("verify", () => {
  it("finds a number, a shape, a kernel or a tensor that changed since", () => {
    const now = { factor: 2, rows: 3, op: "exp" as "exp" | "sin", weight: random([3, 3], 1) };
    const first = now.weight;
    using plan = capture(
      device,
      { x: { shape: [3, 3] } },
      ({ x }) => ({
        y: x
          .mul(now.factor)
          .slice(0, 0, now.rows)
          [now.op]()
          .matmul(now.weight)
          .mul(constant(device, [now.rows], [])),
      }),
      { label: "a step" },
    );
    plan.verify();
    const changed = (change: Partial<typeof now>, message: string) => {
      const was = { ...now };
      Object.assign(now, change);
      expect(() => plan.verify()).toThrow(CaptureError);
      expect(() => plan.verify()).toThrow(message);
      Object.assign(now, was);
      plan.verify();
    };
    changed({ factor: 3 }, "is now 3, captured 2; what changes must be an input");
    changed({ op: "sin" }, "another kernel");
    changed({ rows: 2 }, "captured");
    const other = random([3, 3], 2);
    changed({ weight: other }, "is another tensor");
    other.dispose();
    first.dispose();
  });
});

describe("a replayed function", () => {
  const host = (values: number[], shape: Shape = [values.length]) => ({ x: { values, shape } });

  it("is captured once for each variant and shape, and gives what its code gives", async () => {
    const runs: string[] = [];
    using twice = new ReplayedFunction(
      device,
      ({ x }: { readonly x: Tensor }, factor: number) => {
        runs.push(`${factor}:${x.shape}`);
        return { y: x.mul(factor) };
      },
      { label: "twice" },
    );
    const call = async (values: number[], factor: number) => [...(await twice.call(host(values), factor).y.data())];
    expect(await call([1, 2], 2)).toEqual([2, 4]);
    expect(await call([3, 4], 2)).toEqual([6, 8]);
    expect(await call([3, 4], 3)).toEqual([9, 12]);
    expect(await call([3, 4, 5], 3)).toEqual([9, 12, 15]);
    expect(await call([5, 6], 2)).toEqual([10, 12]);
    expect(runs).toEqual(["2:2", "3:2", "3:3"]);
    expect(twice.plans).toHaveLength(3);
  });

  it("runs rare shapes op by op first, and keeps no more plans than it may", async () => {
    let runs = 0;
    using sum = new ReplayedFunction(
      device,
      ({ x }: { readonly x: Tensor }, _: null) => {
        runs++;
        return { y: x.sum() };
      },
      { label: "sum", eagerCalls: 1, mostPlans: 2 },
    );
    const call = (size: number) => sum.call(host(Array.from({ length: size }, () => 1)), null).y.item();
    for (const size of [3, 3, 3, 4, 4, 5]) expect(await call(size)).toBe(size);
    expect(runs).toBe(5);
    expect(sum.plans).toHaveLength(2);
    for (const size of [5, 5]) expect(await call(size)).toBe(size);
    expect(sum.plans).toHaveLength(2);
    expect(runs).toBe(6);
    for (const size of [3, 5]) expect(await call(size)).toBe(size);
    expect(runs).toBe(7);
    sum.dispose();
    expect(() => sum.call(host([1]), null)).toThrow(DisposedError);
  });
});

describe("what is computed twice from weights", () => {
  it("is computed once, unless they change in between", () => {
    const weight = random([8, 8], 1);
    const count = (between: () => void): number => {
      using plan = capture(device, { x: { shape: [8, 8] } }, ({ x }) => {
        const first = x.matmul(weight.exp());
        between();
        return { y: first.matmul(weight.exp()) };
      });
      return plan.steps.length;
    };
    expect(count(() => {})).toBe(3);
    expect(count(() => void weight.fill_(1))).toBe(5);
    weight.dispose();
  });
});

describe("what is written in place", () => {
  const REGION = 64;
  const regions = 4;

  /** A view of one region of a slab. */
  const region = (slab: Tensor, at: number): Tensor => slab.view([REGION], [1], at * REGION);

  it("needs no copy", async () => {
    const slab = keep(Tensor.empty(device, [2 * REGION]));
    const weight = random([8, 8], 1);
    using plan = capture(device, { x: { shape: [8, 8] } }, ({ x }) => {
      slab.fill_(0);
      slab.view([8, 8], [8, 1], REGION).copy_(x.matmul(weight));
      return {};
    });
    expect(plan.steps).toHaveLength(2);
    plan.replay({ x: numbers(64, 1) });
    const expected = scope(() => tensor(device, numbers(64, 1), [8, 8]).matmul(weight));
    expect(await bits(slab)).toEqual([...new Array(REGION).fill(0), ...(await bits(expected))]);
    for (const t of [slab, weight, expected]) t.dispose();
  });

  it("is the same bits in any order of writes, reads and additions", async () => {
    const uses = fc.record({
      op: fc.constantFrom("copy", "add", "read", "again", "compute", "fill", "partial"),
      a: fc.nat(5),
      b: fc.nat(5),
      at: fc.nat(regions - 1),
    });
    const program = (slab: Tensor, x: Tensor, list: readonly { op: string; a: number; b: number; at: number }[]) => {
      const values: Tensor[] = [x.mul(1), x.exp()];
      const pick = (i: number): Tensor => values[i % values.length]!;
      for (const { op, a, b, at } of list) {
        const place = region(slab, at);
        if (op === "copy") place.copy_(pick(a));
        else if (op === "add") place.add_(pick(a));
        else if (op === "read") values.push(place.mul(pick(a)));
        else if (op === "again") values.push(place.exp());
        else if (op === "fill") place.fill_(a);
        else if (op === "partial") slab.view([REGION], [1], at * 32).copy_(pick(a));
        else values.push(pick(a).sub(pick(b).sin()));
      }
      return { last: values.at(-1)!, kept: pick(3) };
    };
    const lists = fc.sample(fc.array(uses, { minLength: 4, maxLength: 14 }), { numRuns: 120, seed: 1 });
    for (const list of lists) {
      const [eager, replayed] = [0, 1].map(() => keep(tensor(device, numbers(regions * REGION, 5)))) as [
        Tensor,
        Tensor,
      ];
      const expected = scope(() => program(eager, tensor(device, numbers(REGION, 2)), list));
      const plan = capture(device, { x: { shape: [REGION] } }, ({ x }) => program(replayed, x, list));
      plan.replay({ x: numbers(REGION, 2) });
      const there = [eager, expected.last, expected.kept];
      const here = [replayed, plan.outputs.last, plan.outputs.kept];
      expect(await Promise.all(here.map(bits)), JSON.stringify(list)).toEqual(await Promise.all(there.map(bits)));
      plan.dispose();
      for (const t of [eager, replayed, expected.last, expected.kept]) t.dispose();
    }
  });
});
