/** Operands of test cases, drawn from a small counter-based generator of their own so that tables need no tensors. */
import type { NdArray, OperandSpec } from "./cases.ts";
import { ndarray } from "./cases.ts";

/** Uniform in (0, 1) from two integers by the finaliser of MurmurHash3: good enough to draw test data, the same on every host. */
function uniform(seed: number, index: number): number {
  let h = Math.imul(seed + 1, 0x9e3779b1) ^ Math.imul(index + 1, 0x85ebca77);
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return ((h ^ (h >>> 16)) >>> 0) / 4294967296 + 1 / 8589934592;
}

/** The float64 values of an operand, already rounded to f32 (or the integer type) so that device and reference see the same numbers. */
export function drawOperand(spec: OperandSpec, seed: number): NdArray {
  const out = ndarray(spec.shape);
  const kind = spec.values ?? "normal";
  const n = out.data.length;
  for (let i = 0; i < n; i++) {
    const u = uniform(seed, i);
    let value: number;
    const normal = (): number => Math.sqrt(-2 * Math.log(u)) * Math.cos(2 * Math.PI * uniform(seed + 7919, i));
    if (typeof kind === "object")
      value = "index" in kind ? Math.floor(u * kind.index) : kind.mean + kind.deviation * normal();
    else if (kind === "bool") value = u < 0.5 ? 0 : 1;
    else if (kind === "positive") value = 0.5 + 1.5 * u;
    else if (kind === "unit") value = u;
    else if (kind === "distinct") {
      // A shuffled ladder with steps wider than any perturbation of a numeric derivative, none of its rungs near 0 or a clamp's bound.
      const rung = (Math.imul(i, 7919) + seed * 31) % Math.max(n, 1);
      value = (2 * (rung + 0.37)) / Math.max(n, 1) - 1 + 0.011;
    } else value = normal();
    out.data[i] = Math.fround(value);
  }
  return out;
}
