/** Test cases of the elementwise ops: every op over dense, strided and broadcast operands. */
import type { Distribution, OpCase, OperandSpec } from "../testing/cases.ts";
import { type ElementwiseOp, type ElementwiseOpName, elementwiseOps } from "./ops.ts";

/** Where an op's operands must come from for its function, or its derivative, to be defined; others take normal numbers. */
const DRAWS: Partial<Record<ElementwiseOpName, readonly Distribution[]>> = {
  div: ["normal", "positive"],
  pow: ["positive", "normal"],
  maximum: ["distinct", "distinct"],
  minimum: ["distinct", "distinct"],
  where: ["bool", "normal", "normal"],
  log: ["positive"],
  sqrt: ["positive"],
  rsqrt: ["positive"],
  reciprocal: ["positive"],
  clamp: ["distinct"],
  abs: ["distinct"],
  relu: ["distinct"],
  sigmoidBackward: ["normal", "unit"],
  tanhBackward: ["normal", "unit"],
  reluBackward: ["normal", "distinct"],
  clampBackward: ["normal", "distinct"],
};

const INTEGER: readonly ElementwiseOpName[] = [
  "add",
  "sub",
  "mul",
  "maximum",
  "minimum",
  "eq",
  "lt",
  "where",
  "identity",
];

function operands(
  name: ElementwiseOpName,
  shapes: readonly (readonly number[])[],
  layouts: readonly OperandSpec["layout"][] = [],
): OperandSpec[] {
  return shapes.map((shape, k) => {
    const values = DRAWS[name]?.[k] ?? "normal";
    const layout = layouts[k];
    return { shape, values, ...(layout ? { layout } : {}), ...(values === "bool" ? { dtype: "bool" as const } : {}) };
  });
}

function rows(name: ElementwiseOpName): OpCase[] {
  const op: ElementwiseOp = elementwiseOps[name];
  const attrs = op.scalars ? { scalar: -0.5, scalar2: 0.75 } : {};
  if (op.arity === 1) {
    return [
      { op: name, inputs: operands(name, [[3, 5]]), attrs, smoke: true },
      { op: name, inputs: operands(name, [[2, 3, 5]], ["transposed"]), attrs },
      { op: name, inputs: operands(name, [[7]], ["sliced"]), attrs },
      { op: name, inputs: operands(name, [[0, 4]]), attrs },
    ];
  }
  if (op.arity === 2) {
    return [
      {
        op: name,
        inputs: operands(name, [
          [4, 6],
          [4, 6],
        ]),
        attrs,
        smoke: true,
      },
      {
        op: name,
        inputs: operands(name, [
          [2, 1, 5],
          [3, 1],
        ]),
        attrs,
      },
      { op: name, inputs: operands(name, [[1], [3, 2, 1, 4]]), attrs },
      {
        op: name,
        inputs: operands(
          name,
          [
            [3, 4],
            [3, 4],
          ],
          ["transposed", "sliced"],
        ),
        attrs,
      },
      { op: name, inputs: operands(name, [[], [5]]), attrs },
    ];
  }
  return [
    {
      op: name,
      inputs: operands(name, [
        [3, 4],
        [3, 4],
        [3, 4],
      ]),
      attrs,
      smoke: true,
    },
    { op: name, inputs: operands(name, [[4], [2, 1, 1], [3, 1]]), attrs },
    {
      op: name,
      inputs: operands(
        name,
        [
          [2, 3],
          [2, 3],
          [2, 3],
        ],
        ["transposed", "dense", "sliced"],
      ),
      attrs,
    },
  ];
}

const scalars: OpCase[] = (["add", "sub", "mul", "div", "maximum", "lt"] as const).flatMap((op) => [
  { op, inputs: operands(op, [[3, 3]]), attrs: { scalar: 0.7 } },
  { op, inputs: [{ shape: [2, 5], values: "positive" as const }], attrs: { scalar: 1.3, swap: true } },
]);

const powers: OpCase[] = [2, 3, -1, 0.5, 0].map((scalar) => ({
  op: "pow",
  inputs: [{ shape: [6], values: "positive" }],
  attrs: { scalar },
}));

const integers: OpCase[] = INTEGER.flatMap((op) =>
  // An unsigned difference wraps around, which float64 does not.
  (op === "sub" ? (["i32"] as const) : (["i32", "u32"] as const)).map((dtype) => ({
    op,
    inputs: operands(
      op,
      elementwiseOps[op].arity === 1 ? [[5]] : elementwiseOps[op].arity === 2 ? [[2, 5], [5]] : [[5], [5], [5]],
    ).map((o) => (o.dtype ? o : { ...o, values: { index: 9 }, dtype })),
    attrs: {},
  })),
);

export const elementwiseCases: readonly OpCase[] = [
  ...(Object.keys(elementwiseOps) as ElementwiseOpName[]).flatMap(rows),
  ...scalars,
  ...powers,
  { op: "pow", inputs: [{ shape: [6], values: "normal", differentiable: false }], attrs: { scalar: 3 } },
  ...integers,
];
