/** Shape arithmetic against naive computations over every index. */
import { eachIndex } from "@refl/kernels-wgsl/testing";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  broadcastShapes,
  contiguousStrides,
  isContiguous,
  normalizeAxes,
  normalizeAxis,
  numel,
  ShapeError,
} from "../src/index.ts";
import { broadcastStrides, mergeAxes, reshapeStrides } from "../src/shape.ts";

const size = fc.integer({ min: 0, max: 4 });
const shape = fc.array(size, { maxLength: 4 });
const filled = fc.array(fc.integer({ min: 1, max: 4 }), { maxLength: 4 });

/** Positions in memory in row-major order of the indices. */
function positions(sizes: readonly number[], strides: readonly number[]): number[] {
  const out: number[] = [];
  eachIndex(sizes, (index) => out.push(index.reduce((sum, i, axis) => sum + i * strides[axis]!, 0)));
  return out;
}

/** A view's shape and strides, made by permuting, slicing and repeating a dense tensor. */
const view = fc
  .array(fc.record({ size: fc.integer({ min: 1, max: 4 }), step: fc.integer({ min: 1, max: 2 }), repeat: fc.nat(9) }), {
    maxLength: 4,
  })
  .chain((axes) => fc.shuffledSubarray([...axes.keys()], { minLength: axes.length }).map((order) => ({ axes, order })))
  .map(({ axes, order }) => {
    const dense = contiguousStrides(axes.map((axis) => axis.size * axis.step));
    return {
      shape: order.map((i) => axes[i]!.size),
      strides: order.map((i) => (axes[i]!.repeat === 0 ? 0 : dense[i]! * axes[i]!.step)),
    };
  });

describe("broadcasting", () => {
  test("equals NumPy's rule axis by axis from the end", () => {
    fc.assert(
      fc.property(fc.array(shape, { minLength: 1, maxLength: 3 }), (shapes) => {
        const rank = Math.max(...shapes.map((s) => s.length));
        const columns = Array.from({ length: rank }, (_, i) => shapes.map((s) => s[s.length - rank + i] ?? 1));
        const fits = columns.every((sizes) => new Set(sizes.filter((n) => n !== 1)).size <= 1);
        if (!fits) expect(() => broadcastShapes("add", shapes)).toThrow(ShapeError);
        else expect(broadcastShapes("add", shapes)).toEqual(columns.map((sizes) => sizes.find((n) => n !== 1) ?? 1));
      }),
    );
  });

  test("strides repeat an operand where it has one element", () => {
    fc.assert(
      fc.property(filled, fc.array(fc.boolean(), { minLength: 4, maxLength: 4 }), fc.nat(2), (target, ones, drop) => {
        const own = target.map((n, i) => (ones[i] ? 1 : n)).slice(Math.min(drop, target.length));
        const strides = contiguousStrides(own);
        const expected: number[] = [];
        eachIndex(target, (index) => {
          const mine = index.slice(target.length - own.length).map((i, axis) => (own[axis] === 1 ? 0 : i));
          expected.push(mine.reduce((sum, i, axis) => sum + i * strides[axis]!, 0));
        });
        expect(positions(target, broadcastStrides(own, strides, target))).toEqual(expected);
      }),
    );
  });

  test("the error names the op, the shapes and the axis", () => {
    expect(() => broadcastShapes("mul", [[2, 3], [4]])).toThrow(
      new ShapeError("mul", [[2, 3], [4]], "axis -1 holds 3 and 4; one of them must be 1, or both equal"),
    );
  });
});

test("contiguous strides visit memory in order, and only they and size-1 axes are contiguous", () => {
  fc.assert(
    fc.property(shape, (sizes) => {
      const strides = contiguousStrides(sizes);
      expect(positions(sizes, strides)).toEqual(Array.from({ length: numel(sizes) }, (_, i) => i));
      expect(isContiguous(sizes, strides)).toBe(true);
    }),
  );
  fc.assert(
    fc.property(view, ({ shape: sizes, strides }) => {
      const inOrder = positions(sizes, strides).every((at, i) => at === i);
      expect(isContiguous(sizes, strides)).toBe(inOrder);
    }),
  );
});

test("merged axes visit the same positions in the same order for every operand", () => {
  fc.assert(
    fc.property(view, ({ shape: sizes, strides }) => {
      const operands = [strides, contiguousStrides(sizes), sizes.map(() => 0)];
      const merged = mergeAxes(sizes, operands);
      expect(merged.shape.includes(1)).toBe(false);
      expect(merged.shape.length).toBeLessThanOrEqual(sizes.length);
      for (const [k, operand] of operands.entries()) {
        expect(positions(merged.shape, merged.strides[k]!)).toEqual(positions(sizes, operand));
      }
    }),
  );
  expect(mergeAxes([2, 3, 4], [contiguousStrides([2, 3, 4])])).toEqual({ shape: [24], strides: [[1]] });
});

/** All ways to write a count as up to three further sizes. */
const regrouped = (count: number): fc.Arbitrary<number[]> => {
  const divisors = Array.from({ length: count }, (_, i) => i + 1).filter((n) => count % n === 0);
  return fc.tuple(fc.constantFrom(...divisors), fc.nat(100)).chain(([first, pick]) => {
    const rest = count / first;
    const inner = Array.from({ length: rest }, (_, i) => i + 1).filter((n) => rest % n === 0);
    const second = inner[pick % inner.length]!;
    return fc.constantFrom([count], [first, rest], [first, second, rest / second], [1, first, 1, rest]);
  });
};

test("a reshaped view shows the same elements, and is refused only when no strides do", () => {
  const cases = view.chain((v) => regrouped(numel(v.shape)).map((to) => ({ ...v, to })));
  fc.assert(
    fc.property(cases, ({ shape: sizes, strides, to }) => {
      const order = positions(sizes, strides);
      const found = reshapeStrides(sizes, strides, to);
      if (found) {
        expect(positions(to, found)).toEqual(order);
        return;
      }
      // Were there strides, each would be the distance between the first two indices of its axis.
      const dense = contiguousStrides(to);
      const only = to.map((n, i) => (n === 1 ? 0 : order[dense[i]!]! - order[0]!));
      expect(positions(to, only)).not.toEqual(order);
    }),
    { numRuns: 1000 },
  );
  expect(reshapeStrides([0, 3], [3, 1], [3, 0, 2])).toEqual(contiguousStrides([3, 0, 2]));
});

describe("axes", () => {
  test("count from either end, sorted, and name what is outside", () => {
    expect(normalizeAxis("sum", [2, 3], -1)).toBe(1);
    expect(normalizeAxes("sum", [2, 3, 4], [-1, 0])).toEqual([0, 2]);
    expect(normalizeAxes("sum", [2, 3], undefined)).toEqual([0, 1]);
    expect(() => normalizeAxis("sum", [2, 3], 2)).toThrow("sum: shapes [2, 3]: axis 2 is outside -2…1");
    expect(() => normalizeAxes("sum", [2, 3], [1, -1])).toThrow(ShapeError);
    expect(() => normalizeAxis("sum", [2], 0.5)).toThrow(ShapeError);
  });
});
