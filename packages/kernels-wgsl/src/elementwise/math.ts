/** Scalar WGSL functions that elementwise expressions and epilogues call, each as accurate as f32 allows on every adapter. */

/** Functions by name; {@link mathFor} picks those that an expression needs. */
const FUNCTIONS: Record<string, { text: string; uses?: string[] }> = {
  // f32 `tanh` overflows through exp on some drivers and loses relative accuracy near 0 on lavapipe: series below 0.3, clamp above 15.
  tanh_: {
    text: `fn tanh_(x: f32) -> f32 {
  let q = x * x;
  let small = x * (1.0 + q * (-0.33333333 + q * (0.13333333 + q * (-0.053968254 + q * 0.021869488))));
  return select(tanh(clamp(x, -15.0, 15.0)), small, abs(x) < 0.3);
}`,
  },
  // log near 1 is off by 1.7e-4 relative on lavapipe: log x = 2 atanh((x-1)/(x+1)) there.
  log_: {
    text: `fn log_(x: f32) -> f32 {
  let s = (x - 1.0) / (x + 1.0);
  let q = s * s;
  let near = 2.0 * s * (1.0 + q * (0.33333333 + q * (0.2 + q * (0.14285714 + q * 0.11111111))));
  return select(log(x), near, abs(x - 1.0) < 0.25);
}`,
  },
  // WGSL allows sin and cos an absolute error of 2^-11, and SwiftShader uses a third of it: a quarter turn is taken off in three parts
  // (Cody and Waite 1980) and Cephes' polynomials do the rest, a few ulp up to |x| of about 10^4, where f32 itself has few fractions left.
  quarter: {
    text: `fn quarter(x: f32, k: f32) -> f32 {
  return ((x - k * 1.5703125) - k * 4.837512969970703e-4) - k * 7.549789948768648e-8;
}
fn sine_series(r: f32) -> f32 {
  let q = r * r;
  return r + r * q * (-1.6666654611e-1 + q * (8.3321608736e-3 + q * -1.9515295891e-4));
}
fn cosine_series(r: f32) -> f32 {
  let q = r * r;
  return 1.0 - 0.5 * q + q * q * (4.166664568298827e-2 + q * (-1.388731625493765e-3 + q * 2.443315711809948e-5));
}
fn sine_of_quarters(r: f32, quarters: i32) -> f32 {
  let size = select(sine_series(r), cosine_series(r), (quarters & 1) == 1);
  return select(size, -size, (quarters & 2) == 2);
}`,
  },
  sin_: {
    text: `fn sin_(x: f32) -> f32 {
  let k = round(x * 0.63661977);
  return sine_of_quarters(quarter(x, k), i32(k));
}`,
    uses: ["quarter"],
  },
  cos_: {
    text: `fn cos_(x: f32) -> f32 {
  let k = round(x * 0.63661977);
  return sine_of_quarters(quarter(x, k), i32(k) + 1);
}`,
    uses: ["quarter"],
  },
  // exp(-x) overflows to infinity only where the quotient is 0 anyway; the clamp keeps intermediate infinities away from drivers that trap them.
  sigmoid: { text: `fn sigmoid(x: f32) -> f32 {\n  return 1.0 / (1.0 + exp(-clamp(x, -87.0, 87.0)));\n}` },
  // softplus(x) = log(1 + e^x) = max(x, 0) + log1p(e^-|x|), PyTorch's threshold of 20 falls out of the rounding.
  softplus_: {
    text: `fn softplus_(x: f32) -> f32 {
  let e = exp(-abs(x));
  let series = e * (1.0 + e * (-0.5 + e * (0.33333333 + e * -0.25)));
  return max(x, 0.0) + select(log(1.0 + e), series, e < 0.02);
}`,
  },
  // erf as a rational of degree 13/8 on [-4, 4], the minimax fit that Eigen uses for f32 (a few ulp).
  erf_: {
    text: `fn erf_(v: f32) -> f32 {
  let x = clamp(v, -4.0, 4.0);
  let q = x * x;
  var n = -2.72614225801306e-10;
  n = n * q + 2.77068142495902e-08;
  n = n * q - 2.10102402082508e-06;
  n = n * q - 5.69250639462346e-05;
  n = n * q - 7.34990630326855e-04;
  n = n * q - 2.95459980854025e-03;
  n = n * q - 1.60960333262415e-02;
  var d = -1.45660718464996e-05;
  d = d * q - 2.13374055278905e-04;
  d = d * q - 1.68282697438203e-03;
  d = d * q - 7.37332916720468e-03;
  d = d * q - 1.42647390514189e-02;
  return x * n / d;
}`,
  },
  gelu: { text: `fn gelu(x: f32) -> f32 {\n  return 0.5 * x * (1.0 + erf_(x * 0.70710678));\n}`, uses: ["erf_"] },
  gelu_slope: {
    text: `fn gelu_slope(x: f32) -> f32 {\n  return 0.5 * (1.0 + erf_(x * 0.70710678)) + x * 0.39894228 * exp(-0.5 * x * x);\n}`,
    uses: ["erf_"],
  },
  silu: { text: `fn silu(x: f32) -> f32 {\n  return x * sigmoid(x);\n}`, uses: ["sigmoid"] },
  quick_gelu: { text: `fn quick_gelu(x: f32) -> f32 {\n  return x * sigmoid(1.702 * x);\n}`, uses: ["sigmoid"] },
  // NaN by bit pattern: comparisons with NaN are unspecified in WGSL.
  is_nan: { text: `fn is_nan(x: f32) -> bool {\n  return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;\n}` },
  is_finite: { text: `fn is_finite(x: f32) -> bool {\n  return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u;\n}` },
  // WGSL's pow of a negative base is indeterminate: sign and parity by hand, NaN for a fractional exponent.
  pow_: {
    text: `fn pow_(x: f32, y: f32) -> f32 {
  if (y == 0.0) { return 1.0; }
  if (y == 1.0) { return x; }
  if (y == 2.0) { return x * x; }
  let whole = floor(y);
  if (x == 0.0) { return select(0.0, 1.0 / abs(x), y < 0.0); }
  if (x > 0.0) { return pow(x, y); }
  if (whole != y) { return bitcast<f32>(0x7fc00000u | (bitcast<u32>(x) & 1u)); }
  let size = pow(-x, y);
  return select(size, -size, abs(y - 2.0 * floor(y * 0.5)) == 1.0);
}`,
  },
};

const found = new Map<string, string>();

/** The functions that `expression` calls, with what they use, each once and in order. */
export function mathFor(expression: string): string {
  let text = found.get(expression);
  if (text === undefined) found.set(expression, (text = functionsOf(expression)));
  return text;
}

function functionsOf(expression: string): string {
  const wanted: string[] = [];
  const add = (name: string): void => {
    if (wanted.includes(name)) return;
    for (const inner of FUNCTIONS[name]!.uses ?? []) add(inner);
    wanted.push(name);
  };
  for (const name of Object.keys(FUNCTIONS)) if (new RegExp(`\\b${name}\\(`).test(expression)) add(name);
  return wanted.map((name) => FUNCTIONS[name]!.text).join("\n");
}
