/** Backward rules of elementwise ops. Scalar operands carry no gradient. */
import type { ElementwiseAttrs, ScalarAttrs } from "@refl/tensor";
import { binary, clampBackward, type Tensor, where, zerosLike } from "@refl/tensor";
import { type BackwardContext, type Rule, type RuleTable, sumTo } from "../tape.ts";

type Context = BackwardContext<ScalarAttrs>;

/** A rule of one operand: `slope(gradient, saved)`; what is saved is the operand or the result. */
function unaryRule(
  saves: "input" | "output" | "nothing",
  slope: (gradient: Tensor, saved: Tensor, context: Context) => Tensor,
): Rule<ScalarAttrs> {
  return {
    save: ({ inputs, outputs }) => (saves === "input" ? [inputs[0]!] : saves === "output" ? [outputs[0]!] : []),
    backward: (context, gradient) => [slope(gradient, context.saved[0]!, context)],
  };
}

/**
 * A rule of two operands x, y of which one may be a number: `dx` and `dy` map the gradient to each operand's.
 * Operands arrive as saved tensors or as the number itself.
 */
function binaryRule(
  uses: { x: boolean; y: boolean },
  dx: (gradient: Tensor, x: Tensor | number, y: Tensor | number) => Tensor,
  dy: (gradient: Tensor, x: Tensor | number, y: Tensor | number) => Tensor,
): Rule<ScalarAttrs> {
  return {
    save: ({ inputs, attrs }) => {
      const [first, second] = inputs;
      if (inputs.length === 2) return [uses.x ? first! : null, uses.y ? second! : null];
      return attrs.swap ? [uses.y ? first! : null] : [uses.x ? first! : null];
    },
    backward: ({ saved, attrs, needs, shapes }, gradient) => {
      if (shapes.length === 1) {
        const operand = saved[0]!;
        return [attrs.swap ? dy(gradient, attrs.scalar!, operand) : dx(gradient, operand, attrs.scalar!)];
      }
      const [x, y] = saved as [Tensor, Tensor];
      return [
        needs[0] ? sumTo(dx(gradient, x, y), shapes[0]!) : null,
        needs[1] ? sumTo(dy(gradient, x, y), shapes[1]!) : null,
      ];
    },
  };
}

const asTensor = (value: Tensor | number, like: Tensor): Tensor =>
  typeof value === "number" ? zerosLike(like).add(value) : value;

/** Ties go to both operands by halves, as PyTorch's maximum and minimum. */
function extremum(wins: "gt" | "lt"): Rule<ScalarAttrs> {
  const share = (gradient: Tensor, mine: Tensor | number, other: Tensor | number): Tensor => {
    const a = asTensor(mine, gradient);
    const b = asTensor(other, gradient);
    const won = binary(wins, a, b).to(gradient.dtype);
    const tied = a.eq(b).to(gradient.dtype).mul(0.5);
    return gradient.mul(won.add(tied));
  };
  return binaryRule({ x: true, y: true }, share, (g, x, y) => share(g, y, x));
}

const negative = (x: Tensor | number): Tensor | number => (typeof x === "number" ? -x : x.neg());

export const elementwiseRules: RuleTable<ElementwiseAttrs> = {
  identity: unaryRule("nothing", (g) => g),
  add: binaryRule(
    { x: false, y: false },
    (g) => g,
    (g) => g,
  ),
  sub: binaryRule(
    { x: false, y: false },
    (g) => g,
    (g) => g.neg(),
  ),
  mul: binaryRule(
    { x: true, y: true },
    (g, _, y) => g.mul(y),
    (g, x) => g.mul(x),
  ),
  div: binaryRule(
    { x: true, y: true },
    (g, _, y) => g.div(y),
    (g, x, y) => g.mul(negative(x)).div((y as Tensor).square()),
  ),
  // d(x^y)/dx = y x^(y-1), which is 0 for y = 0 whatever x is; d/dy = x^y ln x, which is 0 where x is 0.
  pow: binaryRule(
    { x: true, y: true },
    (g, x, y) => {
      if (y === 0) return zerosLike(g);
      const base = x as Tensor;
      if (typeof y === "number") return g.mul(base.pow(y - 1).mul(y));
      const slope = base.pow(y.sub(1)).mul(y);
      return g.mul(where(y.eq(0), zerosLike(slope), slope));
    },
    (g, x, y) => {
      const base = asTensor(x, y as Tensor);
      const positive = base.gt(0);
      const logarithm = where(positive, base, zerosLike(base).add(1)).log();
      return g.mul(base.pow(y).mul(logarithm));
    },
  ),
  maximum: extremum("gt"),
  minimum: extremum("lt"),
  neg: unaryRule("nothing", (g) => g.neg()),
  abs: unaryRule("input", (g, x) => g.mul(x.sign())),
  sign: null,
  square: unaryRule("input", (g, x) => g.mul(x).mul(2)),
  reciprocal: unaryRule("output", (g, y) => g.mul(y.square()).neg()),
  eq: null,
  ne: null,
  lt: null,
  le: null,
  gt: null,
  ge: null,
  where: {
    save: ({ inputs }) => [inputs[0]!],
    backward: ({ saved, needs, shapes }, g) => {
      const zero = zerosLike(g);
      return [
        null,
        needs[1] ? sumTo(where(saved[0]!, g, zero), shapes[1]!) : null,
        needs[2] ? sumTo(where(saved[0]!, zero, g), shapes[2]!) : null,
      ];
    },
  },
  isnan: null,
  isfinite: null,
  exp: unaryRule("output", (g, y) => g.mul(y)),
  log: unaryRule("input", (g, x) => g.div(x)),
  sqrt: unaryRule("output", (g, y) => g.div(y).mul(0.5)),
  // d(x^-1/2) = -1/2 y^3.
  rsqrt: unaryRule("output", (g, y) => g.mul(y).mul(y.square()).mul(-0.5)),
  sin: unaryRule("input", (g, x) => g.mul(x.cos())),
  cos: unaryRule("input", (g, x) => g.mul(x.sin()).neg()),
  tanh: unaryRule("output", (g, y) => binary("tanhBackward", g, y)),
  floor: unaryRule("nothing", (g) => zerosLike(g)),
  sigmoid: unaryRule("output", (g, y) => binary("sigmoidBackward", g, y)),
  silu: unaryRule("input", (g, x) => binary("siluBackward", g, x)),
  gelu: unaryRule("input", (g, x) => binary("geluBackward", g, x)),
  quickGelu: unaryRule("input", (g, x) => binary("quickGeluBackward", g, x)),
  relu: unaryRule("input", (g, x) => binary("reluBackward", g, x)),
  geglu: binaryRule(
    { x: true, y: true },
    (g, _, y) => binary("geglu", g, y as Tensor),
    (g, x, y) => binary("geluBackward", g.mul(x), y as Tensor),
  ),
  softplus: unaryRule("input", (g, x) => binary("softplusBackward", g, x)),
  clamp: unaryRule("input", (g, x, { attrs }) => clampBackward(g, x, attrs.scalar!, attrs.scalar2!)),
  sigmoidBackward: null,
  tanhBackward: null,
  siluBackward: null,
  geluBackward: null,
  quickGeluBackward: null,
  reluBackward: null,
  clampBackward: null,
  softplusBackward: null,
};
