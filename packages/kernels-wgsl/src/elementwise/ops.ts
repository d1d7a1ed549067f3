/** The elementwise ops: each one's WGSL expression, its float64 reference, and what it takes and gives. */

/** `x`, `y`, `z` are the operands in order; a missing second or third operand reads as the parameters `s0`, `s1`. */
export interface ElementwiseOp {
  readonly arity: 1 | 2 | 3;
  /** A WGSL expression, or statements that end in `return`. */
  readonly wgsl: string;
  readonly reference: (x: number, y: number, z: number, w: number) => number;
  /** `same`: the operands' type; `bool`: a truth value. */
  readonly result: "same" | "bool";
  /** Which element types it takes. */
  readonly domain: "any" | "float" | "number" | "signed";
  /** Number of scalar parameters that the op takes beside its operands. */
  readonly scalars?: 1 | 2;
}

const truth = (b: boolean): number => (b ? 1 : 0);
const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

/** erf in float64: Maclaurin series below 3, continued fraction (Abramowitz & Stegun 7.1.14) above. */
export function erf(x: number): number {
  const a = Math.abs(x);
  if (a < 3) {
    let term = a;
    let sum = a;
    for (let n = 1; Math.abs(term) > 1e-18 * Math.abs(sum) && n < 200; n++) {
      term *= (-a * a) / n;
      sum += term / (2 * n + 1);
    }
    return Math.sign(x) * (2 / Math.sqrt(Math.PI)) * sum;
  }
  let fraction = 0;
  for (let n = 60; n > 0; n--) fraction = n / 2 / (a + fraction);
  return Math.sign(x) * (1 - Math.exp(-a * a) / (Math.sqrt(Math.PI) * (a + fraction)));
}

const gelu = (x: number): number => 0.5 * x * (1 + erf(x / Math.SQRT2));
const geluSlope = (x: number): number =>
  0.5 * (1 + erf(x / Math.SQRT2)) + (x * Math.exp(-0.5 * x * x)) / Math.sqrt(2 * Math.PI);

function op<const A extends 1 | 2 | 3>(
  arity: A,
  wgsl: string,
  reference: ElementwiseOp["reference"],
  more: Partial<Pick<ElementwiseOp, "result" | "domain" | "scalars">> = {},
): ElementwiseOp & { readonly arity: A } {
  return { arity, wgsl, reference, result: "same", domain: "float", ...more } as ElementwiseOp & { readonly arity: A };
}

const number = { domain: "number" } as const;
const signed = { domain: "signed" } as const;
const compare = { domain: "any", result: "bool" } as const;

export const elementwiseOps = {
  // Arithmetic.
  add: op(2, "x + y", (x, y) => x + y, number),
  sub: op(2, "x - y", (x, y) => x - y, number),
  mul: op(2, "x * y", (x, y) => x * y, number),
  div: op(2, "x / y", (x, y) => x / y),
  pow: op(2, "pow_(x, y)", (x, y) => x ** y),
  maximum: op(2, "max(x, y)", (x, y) => Math.max(x, y), number),
  minimum: op(2, "min(x, y)", (x, y) => Math.min(x, y), number),
  neg: op(1, "-x", (x) => -x, signed),
  abs: op(1, "abs(x)", (x) => Math.abs(x), number),
  sign: op(1, "sign(x)", (x) => Math.sign(x), signed),
  square: op(1, "x * x", (x) => x * x, number),
  reciprocal: op(1, "1.0 / x", (x) => 1 / x),
  identity: op(1, "x", (x) => x, { domain: "any" }),
  // Comparisons and choice.
  eq: op(2, "x == y", (x, y) => truth(x === y), compare),
  ne: op(2, "x != y", (x, y) => truth(x !== y), compare),
  lt: op(2, "x < y", (x, y) => truth(x < y), compare),
  le: op(2, "x <= y", (x, y) => truth(x <= y), compare),
  gt: op(2, "x > y", (x, y) => truth(x > y), compare),
  ge: op(2, "x >= y", (x, y) => truth(x >= y), compare),
  /** where(condition, x, y): the condition is the first operand. */
  where: op(3, "select(z, y, x != $X(0))", (c, x, y) => (c !== 0 ? x : y), { domain: "any" }),
  isnan: op(1, "is_nan(x)", (x) => truth(Number.isNaN(x)), { result: "bool" }),
  isfinite: op(1, "is_finite(x)", (x) => truth(Number.isFinite(x)), { result: "bool" }),
  // Transcendentals.
  exp: op(1, "exp(x)", Math.exp),
  log: op(1, "log_(x)", Math.log),
  sqrt: op(1, "sqrt(x)", Math.sqrt),
  rsqrt: op(1, "inverseSqrt(x)", (x) => 1 / Math.sqrt(x)),
  sin: op(1, "sin_(x)", Math.sin),
  cos: op(1, "cos_(x)", Math.cos),
  tanh: op(1, "tanh_(x)", Math.tanh),
  floor: op(1, "floor(x)", Math.floor),
  // Activations.
  sigmoid: op(1, "sigmoid(x)", sigmoid),
  silu: op(1, "silu(x)", (x) => x * sigmoid(x)),
  gelu: op(1, "gelu(x)", gelu),
  quickGelu: op(1, "quick_gelu(x)", (x) => x * sigmoid(1.702 * x)),
  relu: op(1, "max(x, 0.0)", (x) => Math.max(x, 0)),
  softplus: op(1, "softplus_(x)", (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)))),
  /** clamp(x, low, high) with PyTorch's rule that `low > high` gives `high`. */
  clamp: op(1, "min(max(x, y), z)", (x, low, high) => Math.min(Math.max(x, low), high), { scalars: 2 }),
  /** x times GELU of y, as a gated linear unit has it. */
  geglu: op(2, "x * gelu(y)", (x, y) => x * gelu(y)),
  // Gradients: x is the gradient of the result, y the operand (or the result where that is cheaper).
  sigmoidBackward: op(2, "x * y * (1.0 - y)", (g, s) => g * s * (1 - s)),
  tanhBackward: op(2, "x * (1.0 - y * y)", (g, t) => g * (1 - t * t)),
  siluBackward: op(
    2,
    "let s = sigmoid(y); return x * s * (1.0 + y * (1.0 - s));",
    (g, x) => g * sigmoid(x) * (1 + x * (1 - sigmoid(x))),
  ),
  geluBackward: op(2, "x * gelu_slope(y)", (g, x) => g * geluSlope(x)),
  quickGeluBackward: op(2, "let s = sigmoid(1.702 * y); return x * s * (1.0 + 1.702 * y * (1.0 - s));", (g, x) => {
    const s = sigmoid(1.702 * x);
    return g * s * (1 + 1.702 * x * (1 - s));
  }),
  reluBackward: op(2, "select(0.0, x, y > 0.0)", (g, x) => (x > 0 ? g : 0)),
  /** With clamp's bounds: 0 at the bounds themselves, as PyTorch 2.15's; older versions have 1 there. */
  clampBackward: op(
    2,
    "x * select(0.0, 1.0, y > p.s0) * select(0.0, 1.0, y < p.s1)",
    (g, x, low, high) => (x > low && x < high ? g : 0),
    { scalars: 2 },
  ),
  softplusBackward: op(2, "x * sigmoid(y)", (g, x) => g * sigmoid(x)),
} as const satisfies Record<string, ElementwiseOp>;

export type ElementwiseOpName = keyof typeof elementwiseOps;
