/** The most used ops on random shapes, attributes and memory layouts: values and gradients against float64. */
import { broadcastShapes, type Shape } from "@refl/tensor";
import fc from "fast-check";
import { describe, test } from "vitest";
import { holds, type Operand, operandOf, operandsOf, type Program, type Step, sizes } from "./property.ts";

const shapes = (maxRank: number, maxSize: number, minRank = 0): fc.Arbitrary<number[]> =>
  fc.array(sizes(maxSize), { minLength: minRank, maxLength: maxRank });

/** Shapes that broadcast to `shape`: leading axes left off, other axes of size 1. */
const broadcastTo = (shape: Shape): fc.Arbitrary<number[]> =>
  fc
    .tuple(fc.nat(shape.length), fc.array(fc.boolean(), { minLength: shape.length, maxLength: shape.length }))
    .map(([lead, single]) => shape.map((n, i) => (single[i] ? 1 : n)).slice(lead));

const one = (op: string, attrs: unknown = {}): Step[] => [{ op, attrs }];

const positive = (u: number): number => 0.5 + 1.5 * u;

/** Numbers with gaps wider than the steps of numeric derivatives, in an order that depends on the drawn ones. */
const distinct = (u: number, i: number): number => Math.floor(u * 1000) / 10 + 0.001 * i;

describe("elementwise", () => {
  const binary = (op: string, values?: NonNullable<Operand["values"]>): fc.Arbitrary<Program> =>
    shapes(4, 5)
      .chain((shape) => fc.tuple(broadcastTo(shape), broadcastTo(shape)))
      .chain(([a, b]) => operandsOf([a, b]))
      .map((operands) => ({ operands: operands.map((o) => (values ? { ...o, values } : o)), steps: one(op) }));

  test.each(["add", "sub", "mul"])("%s broadcasts", (op) => holds(binary(op)));
  test.each(["div", "pow"])("%s broadcasts", (op) => holds(binary(op, positive)));
  test.each(["maximum", "minimum"])("%s broadcasts", (op) => holds(binary(op, distinct)));

  test("where broadcasts", () =>
    holds(
      shapes(3, 5)
        .chain((shape) => fc.tuple(broadcastTo(shape), broadcastTo(shape), broadcastTo(shape)))
        .chain(([c, a, b]) =>
          fc.tuple(operandOf(c, { dtype: "bool", values: (u) => Number(u < 0.5) }), operandOf(a), operandOf(b)),
        )
        .map((operands) => ({ operands, steps: one("where") })),
    ));

  test("chains of functions", () =>
    holds(
      fc
        .tuple(
          shapes(4, 5).chain((shape) => operandOf(shape)),
          fc.array(fc.constantFrom("gelu", "silu", "quickGelu", "tanh", "sigmoid", "softplus", "sin", "neg"), {
            minLength: 1,
            maxLength: 4,
          }),
        )
        .map(([operand, ops]) => ({ operands: [operand], steps: ops.flatMap((op) => one(op)) })),
      30,
    ));

  test.each(["exp", "square", "cos", "gelu", "silu"])("%s of strided views", (op) =>
    holds(
      shapes(4, 6)
        .chain((shape) => operandOf(shape))
        .map((operand) => ({ operands: [operand], steps: one(op) })),
      15,
    ),
  );

  test.each(["log", "sqrt", "rsqrt", "reciprocal"])("%s of strided views", (op) =>
    holds(
      shapes(4, 6)
        .chain((shape) => operandOf(shape, { values: positive }))
        .map((operand) => ({ operands: [operand], steps: one(op) })),
      15,
    ),
  );
});

describe("reductions", () => {
  const reduction = (op: string, more: object = {}, values?: NonNullable<Operand["values"]>): fc.Arbitrary<Program> =>
    shapes(4, 9, 1).chain((shape) =>
      fc
        .tuple(
          operandOf(shape, values ? { values } : {}),
          fc.subarray(
            shape.map((_, i) => i),
            { minLength: 1 },
          ),
          fc.boolean(),
        )
        .filter(([, axes]) => op !== "variance" || axes.reduce((n, a) => n * shape[a]!, 1) > 1)
        .map(([operand, axes, keepdim]) => ({ operands: [operand], steps: one(op, { axes, keepdim, ...more }) })),
    );

  test.each(["sum", "mean"])("%s over any axes", (op) => holds(reduction(op)));
  test.each(["amax", "amin"])("%s over any axes", (op) => holds(reduction(op, {}, distinct)));
  test.each([0, 1])("variance over any axes, correction %i", (correction) =>
    holds(reduction("variance", { correction })),
  );
});

describe("matrix products", () => {
  test("matmul with broadcast batches in any layout", () =>
    holds(
      fc
        .tuple(sizes(20), sizes(20), sizes(20), shapes(2, 3))
        .chain(([m, k, n, batch]) => fc.tuple(fc.constant([m, k, n] as const), broadcastTo(batch), broadcastTo(batch)))
        .filter(([, a, b]) => broadcastShapes("matmul", [a, b]).reduce((x, y) => x * y, 1) <= 6)
        .chain(([[m, k, n], a, b]) =>
          operandsOf([
            [...a, m, k],
            [...b, k, n],
          ]),
        )
        .map((operands) => ({ operands, steps: one("matmul") })),
      30,
    ));

  test("matmul of sizes that the fast kernels take", () =>
    holds(
      fc
        .tuple(sizes(9), sizes(4), sizes(9), sizes(3))
        .chain(([m, k, n, batch]) =>
          operandsOf([
            [batch, 4 * m, 4 * k],
            [batch, 4 * k, 4 * n],
          ]),
        )
        .map((operands) => ({ operands, steps: one("matmul") })),
    ));

  test("linear with bias and activation", () =>
    holds(
      fc
        .tuple(
          shapes(2, 5, 1),
          sizes(16),
          sizes(16),
          fc.boolean(),
          fc.constantFrom("none", "gelu", "silu", "quickGelu"),
        )
        .chain(([rows, k, n, bias, activation]) =>
          operandsOf([[...rows, k], [n, k], ...(bias ? [[n]] : [])]).map((operands) => ({
            operands,
            steps: one("linear", { activation }),
          })),
        ),
      30,
    ));
});

test("conv2d", () =>
  holds(
    fc
      .record({
        batch: sizes(3),
        channels: fc.tuple(sizes(5), sizes(5)),
        kernel: fc.tuple(sizes(4), sizes(4)),
        stride: fc.tuple(sizes(3), sizes(3)),
        padding: fc.tuple(sizes(2, 0), sizes(2, 0)),
        room: fc.tuple(sizes(5, 0), sizes(5, 0)),
        bias: fc.boolean(),
      })
      .chain(({ batch, channels, kernel, stride, padding, room, bias }) => {
        const size = kernel.map((k, i) => Math.max(1, k - 2 * padding[i]!) + room[i]!);
        const operands = [
          [batch, channels[0], ...size],
          [channels[1], channels[0], ...kernel],
          ...(bias ? [[channels[1]]] : []),
        ];
        return operandsOf(operands).map((o) => ({ operands: o, steps: one("conv2d", { stride, padding }) }));
      }),
    30,
  ));

describe("normalisation", () => {
  test("groupNorm", () =>
    holds(
      fc
        .record({
          batch: sizes(3),
          groups: sizes(3),
          channels: sizes(3),
          space: shapes(2, 5, 1).filter((s) => s.reduce((a, b) => a * b, 1) > 1),
          affine: fc.constantFrom(0, 1, 2),
          activation: fc.constantFrom("none", "silu"),
        })
        .chain(({ batch, groups, channels, space, affine, activation }) => {
          const width = groups * channels;
          const operands = [[batch, width, ...space], ...new Array<number[]>(affine).fill([width])];
          const steps = one("groupNorm", { groups, eps: 1e-3, activation });
          return operandsOf(operands).map((o) => ({ operands: o, steps }));
        }),
      30,
    ));

  test("layerNorm", () =>
    holds(
      fc.tuple(shapes(3, 4), sizes(20, 2), fc.constantFrom(0, 1, 2)).chain(([rows, width, affine]) => {
        const operands = [[...rows, width], ...new Array<number[]>(affine).fill([width])];
        return operandsOf(operands).map((o) => ({ operands: o, steps: one("layerNorm", { eps: 1e-3 }) }));
      }),
    ));

  test.each(["softmax", "logSoftmax"])("%s along any axis", (op) =>
    holds(
      shapes(4, 7, 1).chain((shape) =>
        fc
          .tuple(operandOf(shape), fc.nat(shape.length - 1))
          .map(([operand, axis]) => ({ operands: [operand], steps: one(op, { axis }) })),
      ),
    ),
  );

  test("crossEntropy", () =>
    holds(
      fc
        .record({
          rows: sizes(9),
          classes: sizes(12, 2),
          labelSmoothing: fc.constantFrom(0, 0.1),
          reduction: fc.constantFrom("mean", "sum", "none"),
        })
        .chain(({ rows, classes, labelSmoothing, reduction }) =>
          fc
            .tuple(
              operandOf([rows, classes]),
              operandOf([rows], { dtype: "i32", values: (u) => Math.floor(u * classes) }),
            )
            .map((operands) => ({
              operands,
              steps: one("crossEntropy", { ignoreIndex: -100, labelSmoothing, reduction }),
            })),
        ),
    ));
});

test("attention", () =>
  holds(
    fc
      .record({
        batch: sizes(2),
        heads: sizes(3),
        queries: sizes(12),
        keys: sizes(20),
        // Each head size is a kernel of its own to compile; the case tables have more of them.
        size: fc.constantFrom(8, 5),
        causal: fc.boolean(),
        mask: fc.boolean(),
      })
      .chain(({ batch, heads, queries, keys, size, causal, mask }) =>
        fc
          .tuple(
            operandsOf([
              [batch, heads, queries, size],
              [batch, heads, keys, size],
              [batch, heads, keys, size],
            ]),
            operandOf([batch, keys], { dtype: "i32", values: (u) => Number(u < 0.7) }),
          )
          .map(([operands, keyMask]) => ({
            operands: mask ? [...operands, keyMask] : operands,
            steps: one("scaledDotProductAttention", { causal, scale: size ** -0.5 }),
          })),
      ),
  ));

test("resize", () =>
  holds(
    fc
      .record({
        images: fc.tuple(sizes(2), sizes(3)),
        from: fc.tuple(sizes(9), sizes(9)),
        size: fc.tuple(sizes(9), sizes(9)),
        mode: fc.constantFrom("bilinear", "bicubic"),
        antialias: fc.boolean(),
      })
      .chain(({ images, from, size, mode, antialias }) =>
        operandOf([...images, ...from]).map((operand) => ({
          operands: [operand],
          steps: one("resize", { size, mode, antialias }),
        })),
      ),
  ));

describe("views", () => {
  /** One step that fits a shape, from four drawn numbers. */
  function viewStep(
    shape: readonly number[],
    [kind, a, b, c]: readonly [number, number, number, number],
  ): [Step, number[]] {
    const rank = shape.length;
    if (rank === 0) return [{ op: "expand", attrs: { shape: [2, 3] } }, [2, 3]];
    const axis = a % rank;
    const size = shape[axis]!;
    switch (kind % 5) {
      case 0: {
        const axes = shape.map((_, i) => (i + a + 1) % rank);
        if (b % 2) axes.reverse();
        return [{ op: "permute", attrs: { axes } }, axes.map((i) => shape[i]!)];
      }
      case 1: {
        const start = b % size;
        const step = 1 + (c % 3);
        const to = shape.map((n, i) => (i === axis ? Math.ceil((size - start) / step) : n));
        const along = (value: number, other: number): number[] => shape.map((_, i) => (i === axis ? value : other));
        return [{ op: "slice", attrs: { starts: along(start, 0), steps: along(step, 1), shape: to } }, to];
      }
      case 2: {
        // Two neighbours joined, or one axis split in two.
        const to =
          b % 2 && axis + 1 < rank
            ? [...shape.slice(0, axis), size * shape[axis + 1]!, ...shape.slice(axis + 2)]
            : [...shape.slice(0, axis), ...(size % 2 ? [1, size] : [size / 2, 2]), ...shape.slice(axis + 1)];
        return to.length > 6 ? [{ op: "neg", attrs: {} }, [...shape]] : [{ op: "reshape", attrs: { shape: to } }, to];
      }
      case 3: {
        const to = [...(c % 2 && rank < 5 ? [2] : []), ...shape.map((n) => (n === 1 ? 1 + (b % 3) : n))];
        return [{ op: "expand", attrs: { shape: to } }, to];
      }
      default: {
        const to = shape.map((n, i) => (i === axis ? 2 * n + (b % 2) : n));
        const starts = shape.map((_, i) => (i === axis ? b % 2 : 0));
        const steps = shape.map((_, i) => (i === axis ? 2 : 1));
        return [{ op: "place", attrs: { shape: to, starts, steps, value: 0.5 } }, to];
      }
    }
  }

  test("chains of permute, slice, reshape, expand and place, with a function at the end", () =>
    holds(
      shapes(4, 5).chain((shape) =>
        fc
          .tuple(
            operandOf(shape),
            fc.array(fc.tuple(fc.nat(4), fc.nat(5), fc.nat(5), fc.nat(5)), { minLength: 1, maxLength: 5 }),
          )
          .map(([operand, drawn]) => {
            const steps: Step[] = [];
            let now: number[] = [...shape];
            for (const numbers of drawn) {
              const [step, to] = viewStep(now, numbers);
              if (to.reduce((x, y) => x * y, 1) > 2000) break;
              steps.push(step);
              now = to;
            }
            return { operands: [operand], steps: [...steps, { op: "square", attrs: {} }] };
          }),
      ),
      40,
    ));

  test("cat of any layouts", () =>
    holds(
      fc
        .tuple(shapes(3, 4, 1), fc.array(sizes(4), { minLength: 1, maxLength: 4 }), fc.nat(2))
        .chain(([shape, parts, at]) => {
          const axis = at % shape.length;
          const steps = one("cat", { axis });
          return operandsOf(parts.map((n) => shape.map((m, i) => (i === axis ? n : m)))).map((operands) => ({
            operands,
            steps,
          }));
        }),
    ));
});
