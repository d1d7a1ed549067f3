/** Conversions between float32 and the 16-bit floats F16 (IEEE 754 binary16) and BF16, on bit patterns, rounding to nearest, ties to even. */

const buffer = /* @__PURE__ */ new ArrayBuffer(4);
const asFloat = /* @__PURE__ */ new Float32Array(buffer);
const asBits = /* @__PURE__ */ new Uint32Array(buffer);

/** Bits of a float32 that equals the F16 with bits `h` (every F16 is a float32; NaN payloads are kept). */
export function f16BitsToF32Bits(h: number): number {
  const sign = (h & 0x8000) << 16;
  const exponent = (h >>> 10) & 0x1f;
  const mantissa = h & 0x3ff;
  if (exponent === 0x1f) return (sign | 0x7f800000 | (mantissa << 13)) >>> 0;
  if (exponent !== 0) return (sign | ((exponent + 112) << 23) | (mantissa << 13)) >>> 0;
  if (mantissa === 0) return sign >>> 0;
  const shift = Math.clz32(mantissa) - 21;
  return (sign | ((113 - shift) << 23) | (((mantissa << shift) & 0x3ff) << 13)) >>> 0;
}

/** Bits of the F16 nearest to the float32 with bits `x`; from 65520 on the result is infinite, a NaN stays a NaN with the upper bits of its payload. */
export function f32BitsToF16Bits(x: number): number {
  const sign = (x >>> 16) & 0x8000;
  const abs = x & 0x7fffffff;
  if (abs > 0x7f800000) return sign | 0x7c00 | ((abs >>> 13) & 0x3ff || 0x200);
  if (abs >= 0x47800000) return sign | 0x7c00;
  if (abs >= 0x38800000) return sign | ((abs - 0x38000000 + 0xfff + ((abs >>> 13) & 1)) >>> 13);
  const exponent = abs >>> 23;
  if (exponent < 102) return sign;
  const shift = 126 - exponent;
  const mantissa = (abs & 0x7fffff) | 0x800000;
  return sign | ((mantissa + (1 << (shift - 1)) - 1 + ((mantissa >>> shift) & 1)) >>> shift);
}

/** Bits of the BF16 nearest to the float32 with bits `x`; a NaN stays a NaN. */
export function f32BitsToBf16Bits(x: number): number {
  if ((x & 0x7fffffff) > 0x7f800000) return ((x >>> 16) & 0xffff) | ((x >>> 16) & 0x7f ? 0 : 0x40);
  return ((x + 0x7fff + ((x >>> 16) & 1)) >>> 16) & 0xffff;
}

/** The number that F16 bits stand for. */
export function f16ToNumber(bits: number): number {
  asBits[0] = f16BitsToF32Bits(bits);
  return asFloat[0] as number;
}

/** F16 bits of a number, which is rounded to float32 first. */
export function numberToF16(value: number): number {
  asFloat[0] = value;
  return f32BitsToF16Bits(asBits[0] as number);
}

/** The number that BF16 bits stand for. */
export function bf16ToNumber(bits: number): number {
  asBits[0] = bits << 16;
  return asFloat[0] as number;
}

/** BF16 bits of a number, which is rounded to float32 first. */
export function numberToBf16(value: number): number {
  asFloat[0] = value;
  return f32BitsToBf16Bits(asBits[0] as number);
}

function bitsOf(values: Float32Array): Uint32Array {
  return new Uint32Array(values.buffer, values.byteOffset, values.length);
}

/** Values from which on a table of all 65,536 patterns is quicker than the arithmetic, making it included. */
const TABLE_FROM = 2 ** 16;
let table: Uint32Array | null = null;

/** Widens F16 bit patterns to float32, into `out` if given: an array of as many values. */
export function f16ToF32(half: Uint16Array, out: Float32Array = new Float32Array(half.length)): Float32Array {
  const bits = bitsOf(out);
  if (half.length >= TABLE_FROM)
    table ??= Uint32Array.from({ length: 2 ** 16 }, (_, pattern) => f16BitsToF32Bits(pattern));
  if (table) for (let i = 0; i < half.length; i++) bits[i] = table[half[i] as number] as number;
  else for (let i = 0; i < half.length; i++) bits[i] = f16BitsToF32Bits(half[i] as number);
  return out;
}

/** Rounds float32 to F16 bit patterns. */
export function f32ToF16(values: Float32Array): Uint16Array {
  const bits = bitsOf(values);
  const out = new Uint16Array(values.length);
  for (let i = 0; i < bits.length; i++) out[i] = f32BitsToF16Bits(bits[i] as number);
  return out;
}

/** Widens BF16 bit patterns to float32, into `out` if given: an array of as many values. */
export function bf16ToF32(half: Uint16Array, out: Float32Array = new Float32Array(half.length)): Float32Array {
  const bits = bitsOf(out);
  for (let i = 0; i < half.length; i++) bits[i] = (half[i] as number) << 16;
  return out;
}

/** Rounds float32 to BF16 bit patterns. */
export function f32ToBf16(values: Float32Array): Uint16Array {
  const bits = bitsOf(values);
  const out = new Uint16Array(values.length);
  for (let i = 0; i < bits.length; i++) out[i] = f32BitsToBf16Bits(bits[i] as number);
  return out;
}
