/** The tape's rules of use: leaves, accumulation, walks that end or keep it, and the memory that it holds. */
import {
  AutogradError,
  cat,
  type Device,
  DTypeError,
  ones,
  ShapeError,
  scope,
  type Tensor,
  tensor,
} from "@refl/tensor";
import { afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { testDevice } from "../../tensor/test/device.ts";
import {
  backward,
  grad,
  gradOf,
  isGradEnabled,
  noGrad,
  Parameter,
  recordNode,
  requireGrad,
  zeroGrad,
} from "../src/index.ts";
import { read, readAll, wave } from "./read.ts";

let device: Device;
let before: number;
beforeAll(async () => {
  device = await testDevice();
});
beforeEach(() => {
  before = device.memory().storages;
});
afterEach(() => {
  expect(isGradEnabled()).toBe(true);
  expect(device.memory().storages).toBe(before);
});

/** A leaf of the given values that the enclosing scope ends. */
const leaf = (values: number[], shape?: number[]): Tensor => requireGrad(tensor(device, values, shape));

const parameter = (values: ArrayLike<number>, shape: number[]): Parameter =>
  new Parameter(tensor(device, Float32Array.from(values), shape));

describe("accumulation", () => {
  test("two backward calls add up, zeroGrad() starts anew", async () => {
    const w = parameter([1, 2, 3], [3]);
    expect(w.grad).toBeNull();
    scope(() => backward(w.square().sum()));
    expect([...(await w.grad!.data())]).toEqual([2, 4, 6]);
    scope(() => backward(w.mul(10).sum()));
    expect([...(await w.grad!.data())]).toEqual([12, 14, 16]);
    zeroGrad([w]);
    expect(w.grad).toBeNull();
    scope(() => backward(w.sum()));
    expect([...(await w.grad!.data())]).toEqual([1, 1, 1]);
    w.dispose();
  });

  test("two leaves that share one gradient tensor stay independent", async () => {
    const x = parameter([1, 2], [2]);
    const y = parameter([3, 4], [2]);
    scope(() => backward(x.add(y).sum()));
    scope(() => backward(x.mul(5).sum()));
    expect([...(await x.grad!.data())]).toEqual([6, 6]);
    expect([...(await y.grad!.data())]).toEqual([1, 1]);
    x.dispose();
    y.dispose();
  });

  test("the caller's gradient tensor is neither kept nor changed", async () => {
    const x = parameter([1, 2], [2]);
    const g = tensor(device, [3, 4]);
    scope(() => backward(x.reshape(2), { gradient: g }));
    scope(() => backward(x.reshape(2), { gradient: g }));
    expect([...(await x.grad!.data())]).toEqual([6, 8]);
    expect([...(await g.data())]).toEqual([3, 4]);
    g.dispose();
    x.dispose();
  });

  test("a leaf as its own root gets the root's gradient", async () => {
    const x = parameter([5], [1]);
    backward(x);
    expect([...(await x.grad!.data())]).toEqual([1]);
    x.dispose();
  });

  test("grad() leaves what was accumulated alone and gives zeros where nothing depends", async () => {
    const x = parameter([1, 2], [2]);
    scope(() => backward(x.sum()));
    const other = parameter([7, 7, 7], [3]);
    const [dx, again, none] = await readAll(() => grad(x.square().sum(), [x, x, other]));
    expect(dx).toEqual([2, 4]);
    expect(again).toEqual([2, 4]);
    expect(none).toEqual([0, 0, 0]);
    expect([...(await x.grad!.data())]).toEqual([1, 1]);
    expect(other.grad).toBeNull();
    x.dispose();
    other.dispose();
  });
});

describe("graphs", () => {
  test("an input used many times gets the sum over its uses", async () => {
    const found = await read(() => {
      const x = leaf([2, 3]);
      let y = x.mul(x);
      for (let i = 0; i < 5; i++) y = y.add(x);
      return grad(y.mul(x).sum(), [x])[0]!; // x³ + 5x²
    });
    expect(found).toEqual([3 * 4 + 10 * 2, 3 * 9 + 10 * 3]);
  });

  test("a chain of diamonds is walked once per node", async () => {
    const found = await read(() => {
      const x = leaf([1]);
      let y: Tensor = x;
      for (let i = 0; i < 20; i++) y = y.add(y);
      return grad(y, [x])[0]!;
    });
    expect(found).toEqual([2 ** 20]);
  });

  test("a graph of 5,000 steps does not overflow the stack", async () => {
    const found = await read(() => {
      const x = leaf([1]);
      let y: Tensor = x;
      for (let i = 0; i < 5000; i++) y = y.neg();
      return grad(y, [x])[0]!;
    });
    expect(found).toEqual([1]);
  });

  test("views of a parameter send their gradients to its elements", async () => {
    const w = parameter([1, 2, 3, 4, 5, 6], [2, 3]);
    scope(() => {
      const turned = w.transpose(0, 1);
      const column = w.slice(1, 1, 2).reshape(2);
      backward(turned.slice(0, 0, 3, 2).mul(10).sum().add(column.square().sum()));
    });
    expect([...(await w.grad!.data())]).toEqual([10, 4, 10, 10, 10, 10]);
    w.dispose();
  });

  test("a view of a view of a result, cut up and joined again", async () => {
    const [dx] = await readAll(() => {
      const x = leaf([1, 2, 3, 4], [2, 2]);
      const [a, b] = x.exp().log().permute(1, 0).chunk(2, 0) as [Tensor, Tensor];
      return grad(cat([b.mul(2), a.mul(5), b], 0).sum(), [x]);
    });
    expect(dx!.map((v) => Number(v.toFixed(5)))).toEqual([5, 3, 5, 3]);
  });

  test("broadcast operands get sums of their own shape", async () => {
    const [da, db, dc] = await readAll(() => {
      const a = leaf([1, 2, 3], [3, 1]);
      const b = leaf([1, 2], [2]);
      const c = leaf([5], []);
      return grad(a.mul(b).add(c).sum(), [a, b, c]);
    });
    expect([da, db, dc]).toEqual([[3, 3, 3], [6, 6], [6]]);
    const shapes = scope(() => {
      const a = leaf([1, 2, 3], [3, 1]);
      return grad(a.expand(2, 3, 4).sum(), [a])[0]!.shape;
    });
    expect(shapes).toEqual([3, 1]);
  });

  test("a root of many elements takes a gradient", async () => {
    const found = await read(() => {
      const x = leaf([1, 2, 3]);
      return grad(x.square(), [x], { gradient: tensor(device, [1, 10, 100]) })[0]!;
    });
    expect(found).toEqual([2, 40, 600]);
  });
});

describe("where gradients stop", () => {
  test("frozen parameters are constants", async () => {
    const w = parameter([2, 3], [2]);
    w.requiresGrad = false;
    const x = parameter([4, 5], [2]);
    scope(() => backward(w.mul(x).sum()));
    expect(w.grad).toBeNull();
    expect([...(await x.grad!.data())]).toEqual([2, 3]);
    expect(scope(() => w.exp().history)).toBeNull();
    w.requiresGrad = true;
    scope(() => backward(w.mul(x).sum()));
    expect([...(await w.grad!.data())]).toEqual([4, 5]);
    w.requiresGrad = false;
    expect(w.grad).toBeNull();
    w.dispose();
    x.dispose();
  });

  test("detach() and noGrad() cut the graph", async () => {
    const found = await read(() => {
      const x = leaf([3]);
      const fixed = noGrad(() => x.square());
      expect(fixed.history).toBeNull();
      expect(noGrad(() => noGrad(() => isGradEnabled()))).toBe(false);
      expect(isGradEnabled()).toBe(true);
      return grad(x.square().detach().add(fixed).mul(x), [x])[0]!;
    });
    expect(found).toEqual([18]);
  });

  test("a leaf made inside noGrad() is recorded outside of it", async () => {
    const w = noGrad(() => parameter([2], [1]));
    scope(() => backward(w.square()));
    expect([...(await w.grad!.data())]).toEqual([4]);
    w.dispose();
  });

  test("integers and truth values carry no history", () => {
    scope(() => {
      const x = leaf([1.5, -2]);
      for (const t of [x.gt(0), x.isnan(), x.to("i32"), x.to("u32"), x.to("bool"), x.reshape(1, 2).argmax(1)]) {
        expect(t.history).toBeNull();
      }
      expect(x.sign().history).toBeNull();
      expect(() => requireGrad(tensor(device, [1, 2], [2], "i32"))).toThrow(DTypeError);
      expect(() => new Parameter(tensor(device, [1, 2], [2], "i32"))).toThrow(DTypeError);
    });
  });

  test("requireGrad() refuses what was computed", () => {
    scope(() => {
      const x = leaf([1]);
      expect(requireGrad(x)).toBe(x);
      expect(() => requireGrad(x.exp())).toThrow(AutogradError);
      expect(requireGrad(x.exp().detach()).history).not.toBeNull();
      expect(gradOf(x.exp())).toBeNull();
    });
  });
});

describe("walks", () => {
  test("a second backward is an error that tells what to do", () => {
    scope(() => {
      const x = leaf([1, 2]);
      const y = x.exp().sum();
      grad(y, [x]);
      expect(() => backward(y)).toThrow(AutogradError);
      expect(() => backward(y)).toThrow(/retainGraph/);
    });
  });

  test("retainGraph allows any number of walks, the last without it frees the tape", async () => {
    const x = parameter([1, 2], [2]);
    const y = scope(() => x.square().sum());
    const held = device.memory().storages;
    backward(y, { retainGraph: true });
    backward(y, { retainGraph: true });
    expect(device.memory().storages).toBe(held + 1);
    backward(y);
    expect([...(await x.grad!.data())]).toEqual([6, 12]);
    expect(() => backward(y)).toThrow(AutogradError);
    y.dispose();
    x.dispose();
  });

  test("two roots over a shared part: the second walk finds it spent", () => {
    scope(() => {
      const x = leaf([1]);
      const shared = x.exp();
      const first = shared.mul(2);
      const second = shared.square();
      grad(first, [x]);
      expect(() => grad(second, [x])).toThrow(/exp/);
    });
  });

  test("a root without history, a root of many elements, a gradient of another shape", () => {
    scope(() => {
      const x = leaf([1, 2]);
      expect(() => backward(tensor(device, [1]))).toThrow(AutogradError);
      expect(() => backward(noGrad(() => x.sum()))).toThrow(/noGrad/);
      expect(() => backward(x.exp())).toThrow(/\[2\].*gradient/);
      expect(() => backward(x.exp(), { gradient: ones(device, [3]) })).toThrow(ShapeError);
      expect(() => grad(x.sum(), [tensor(device, [1])])).toThrow(/requireGrad/);
      expect(() => grad(x.sum(), [x.exp()])).toThrow(AutogradError);
      expect(x.history && gradOf(x)).toBeNull();
    });
  });

  test("a rule that gives a gradient of a wrong shape is named", () => {
    scope(() => {
      const x = leaf([1, 2]);
      const y = recordNode(
        "halve",
        [x],
        noGrad(() => x.mul(0.5)),
        [],
        (g) => [g.sum(0, true)],
      );
      expect(() => backward(y.sum())).toThrow(/halve.*\[2\].*\[1\]/);
    });
  });

  test("records of operands without a gradient end with the walk too", async () => {
    const x = parameter([1, 2], [2]);
    const c = parameter([3, 4], [2]);
    // Outside of any scope nothing but the walk ends records: the rule gives `c`'s side no gradient.
    const side = c.exp();
    const y = recordNode(
      "first",
      [x, side],
      noGrad(() => x.clone()),
      [],
      (g) => [g, null],
    );
    const loss = y.sum();
    backward(loss);
    for (const t of [side, y, loss]) t.dispose();
    expect(device.memory().storages).toBe(before + 3);
    expect(c.grad).toBeNull();
    x.dispose();
    c.dispose();
  });
});

describe("memory", () => {
  test("scope() ends records that no walk reached", () => {
    const w = parameter(wave(64), [8, 8]);
    const inUse = device.memory().inUse;
    for (let i = 0; i < 3; i++) scope(() => void w.exp().matmul(w).gelu().square().sum());
    expect(device.memory().inUse).toBe(inUse);
    const loss = scope(() => w.exp().matmul(w).sum());
    expect(device.memory().inUse).toBeGreaterThan(inUse);
    scope(() => void grad(loss, [w]));
    loss.dispose();
    expect(device.memory().inUse).toBe(inUse);
    w.dispose();
  });

  test("a record whose result left no way out of the scope says so", () => {
    const w = parameter([1], [1]);
    let escaped: Tensor | undefined;
    scope(() => {
      const y = w.exp();
      escaped = y.alias();
      escaped.history = y.history;
    });
    expect(() => backward(escaped!)).toThrow(/scope\(\) ended/);
    escaped!.dispose();
    w.dispose();
  });

  test("an error in a forward pass leaves recorder, scopes and memory as they were", async () => {
    const w = parameter([1, 2], [2]);
    const failing = (): never => {
      w.exp().square();
      throw new Error("stop");
    };
    expect(() => scope(failing)).toThrow("stop");
    expect(() => noGrad(() => scope(failing))).toThrow("stop");
    expect(() => scope(() => w.exp().matmul(ones(device, [3, 3])))).toThrow(ShapeError);
    expect(isGradEnabled()).toBe(true);
    expect(device.memory().storages).toBe(before + 1);
    const stray = w.exp();
    stray.dispose();
    stray.history!.dispose();
    expect(await read(() => grad(w.square().sum(), [w])[0]!)).toEqual([2, 4]);
    w.dispose();
  });

  test("an error in a rule frees the gradients in flight", async () => {
    const w = parameter([1, 2], [2]);
    expect(() =>
      scope(() => {
        const failing = recordNode(
          "failing",
          [w],
          noGrad(() => w.neg()),
          [],
          () => {
            throw new Error("stop");
          },
        );
        backward(failing.square().add(w.exp()).sum());
      }),
    ).toThrow("stop");
    zeroGrad([w]);
    expect(device.memory().storages).toBe(before + 1);
    expect(isGradEnabled()).toBe(true);
    expect(await read(() => grad(w.square().sum(), [w])[0]!)).toEqual([2, 4]);
    w.dispose();
  });

  test("a leaf that a scope ends takes its gradient with it, and gets none afterwards", () => {
    const loss = scope(() => {
      const x = leaf([1, 2]);
      const y = x.square().sum();
      backward(y, { retainGraph: true });
      expect(gradOf(x)).not.toBeNull();
      return y;
    });
    backward(loss);
    loss.dispose();
  });

  test("a parameter takes its own gradient with it", () => {
    const w = parameter([1, 2], [2]);
    scope(() => backward(w.square().sum()));
    expect(device.memory().storages).toBe(before + 2);
    w.dispose();
    w.dispose();
  });
});
