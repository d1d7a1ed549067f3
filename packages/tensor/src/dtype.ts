/** Element types: their sizes, their storage in WGSL and the typed arrays that carry them on the host. */
import type { StorageType } from "@refl/kernels-wgsl";
import { f16ToF32, f32ToF16 } from "./half.ts";

/** f16 is storage: every kernel computes and accumulates in f32. bool is stored as u32 on the device and as 0/1 bytes on the host. */
export type DType = "f32" | "f16" | "i32" | "u32" | "bool";

export interface HostArrays {
  f32: Float32Array;
  f16: Float32Array;
  i32: Int32Array;
  u32: Uint32Array;
  bool: Uint8Array;
}

/** Bytes per element on the device. */
export const BYTES: Readonly<Record<DType, number>> = { f32: 4, f16: 2, i32: 4, u32: 4, bool: 4 };

export const STORAGE: Readonly<Record<DType, StorageType>> = {
  f32: "f32",
  f16: "f16",
  i32: "i32",
  u32: "u32",
  bool: "u32",
};

export function isFloat(dtype: DType): dtype is "f32" | "f16" {
  return dtype === "f32" || dtype === "f16";
}

/** Host values → the bytes that the device stores. */
export function encode(values: ArrayLike<number>, dtype: DType): ArrayBuffer {
  if (dtype === "f16")
    return f32ToF16(values instanceof Float32Array ? values : Float32Array.from(values)).buffer as ArrayBuffer;
  if (dtype === "f32")
    return (values instanceof Float32Array ? values.slice() : Float32Array.from(values)).buffer as ArrayBuffer;
  if (dtype === "i32") return Int32Array.from(values).buffer;
  return Uint32Array.from(values, dtype === "bool" ? (v) => (v ? 1 : 0) : undefined!).buffer;
}

/** Device bytes → host values; f16 is widened to f32. */
export function decode<D extends DType>(bytes: ArrayBuffer, dtype: D, count: number): HostArrays[D] {
  const make = (): HostArrays[DType] => {
    if (dtype === "f16") return f16ToF32(new Uint16Array(bytes, 0, count));
    if (dtype === "f32") return new Float32Array(bytes, 0, count);
    if (dtype === "i32") return new Int32Array(bytes, 0, count);
    if (dtype === "u32") return new Uint32Array(bytes, 0, count);
    return Uint8Array.from(new Uint32Array(bytes, 0, count));
  };
  return make() as HostArrays[D];
}
