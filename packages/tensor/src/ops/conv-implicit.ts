/** Convolutions on any device: the three products of the portable implicit kernels. */
import {
  convImplicit,
  convImplicitDefines,
  convImplicitGrid,
  convNaive,
  convNaiveGrid,
  convRegister,
  convRegisterGrid,
  convSplits,
} from "@refl/kernels-wgsl";
import { Tensor } from "../tensor.ts";
import type { ConvGeometry } from "./conv.ts";
import { copyInto } from "./copy.ts";

type Float = "f32" | "f16";

/** The portable kernels: an element to a thread, a block to a thread, a tile in workgroup memory. */
export type ImplicitKernel = "naive" | "register" | "shared";

const KERNELS = {
  naive: { kernel: convNaive, grid: convNaiveGrid },
  register: { kernel: convRegister, grid: convRegisterGrid },
  shared: { kernel: convImplicit, grid: convImplicitGrid },
} as const;

/** What a tuner's measurements of them are of. */
export const IMPLICIT_TEXTS = [convNaive, convRegister, convImplicit] as const;

/** out = conv(x, weight) + bias. Operands are contiguous. */
export function implicitForward(
  g: ConvGeometry,
  { x, weight, bias }: { x: Tensor; weight: Tensor; bias: Tensor | null },
  out: Tensor,
  by: ImplicitKernel = "shared",
): void {
  const [kh, kw] = g.kernel;
  const [oh, ow] = g.out;
  const m = g.cout;
  const n = g.batch * oh * ow;
  const k = g.cin * kh * kw;
  const params = {
    m,
    n,
    k,
    chunk: k,
    splits: 1,
    offsetA: weight.offset,
    rowA: k,
    outerA: kh * kw,
    offsetX: x.offset,
    outerX: g.cin * g.height * g.width,
    planeX: g.height * g.width,
    height: g.height,
    width: g.width,
    columnHeight: oh,
    columnWidth: ow,
    kHeight: kh,
    kWidth: kw,
    scaleY: g.stride[0],
    scaleX: g.stride[1],
    stepY: 1,
    stepX: 1,
    padY: g.padding[0],
    padX: g.padding[1],
    offsetBias: bias?.offset ?? 0,
    offsetC: 0,
    outerC: g.cout * oh * ow,
    rowC: oh * ow,
  };
  const storages = bias
    ? [weight.storage, x.storage, bias.storage, out.storage]
    : [weight.storage, x.storage, out.storage];
  const type = x.dtype as Float;
  const { kernel, grid } = KERNELS[by];
  x.device.run(kernel, convImplicitDefines(type, type, bias !== null), storages, params, grid(m, n, 1));
}

/** out = dX for stride 1: every pixel sums the windows that covered it. Operands are contiguous. */
export function implicitInputGrad(
  g: ConvGeometry,
  { gradient, weight }: { gradient: Tensor; weight: Tensor },
  out: Tensor,
  by: ImplicitKernel = "shared",
): void {
  const [kh, kw] = g.kernel;
  const [oh, ow] = g.out;
  const area = g.height * g.width;
  const m = g.cin;
  const n = g.batch * area;
  const k = g.cout * kh * kw;
  const params = {
    m,
    n,
    k,
    chunk: k,
    splits: 1,
    offsetA: weight.offset,
    rowA: kh * kw,
    outerA: g.cin * kh * kw,
    offsetX: gradient.offset,
    outerX: g.cout * oh * ow,
    planeX: oh * ow,
    height: oh,
    width: ow,
    columnHeight: g.height,
    columnWidth: g.width,
    kHeight: kh,
    kWidth: kw,
    scaleY: 1,
    scaleX: 1,
    stepY: -1,
    stepX: -1,
    padY: -g.padding[0],
    padX: -g.padding[1],
    offsetBias: 0,
    offsetC: 0,
    outerC: g.cin * area,
    rowC: area,
  };
  const type = gradient.dtype as Float;
  const { kernel, grid } = KERNELS[by];
  const storages = [weight.storage, gradient.storage, out.storage];
  gradient.device.run(kernel, convImplicitDefines(type, type), storages, params, grid(m, n, 1));
}

/** out = dW: the sum over all pixels of all images is cut into parts that are added in order. Operands are contiguous. */
export function implicitWeightGrad(
  g: ConvGeometry,
  { gradient, x }: { gradient: Tensor; x: Tensor },
  out: Tensor,
  by: ImplicitKernel = "shared",
): void {
  const [kh, kw] = g.kernel;
  const [oh, ow] = g.out;
  const area = g.height * g.width;
  const m = g.cout;
  const n = g.cin * kh * kw;
  const k = g.batch * oh * ow;
  const { splits, chunk } = convSplits(m, n, k);
  const type = x.dtype as Float;
  const parts = splits > 1 ? Tensor.empty(x.device, [splits, ...out.shape], "f32") : out;
  const params = {
    m,
    n,
    k,
    chunk,
    splits,
    offsetA: gradient.offset,
    rowA: oh * ow,
    outerA: g.cout * oh * ow,
    offsetX: x.offset,
    outerX: area,
    planeX: g.cin * area,
    height: g.height,
    width: g.width,
    columnHeight: kh,
    columnWidth: kw,
    kHeight: oh,
    kWidth: ow,
    scaleY: 1,
    scaleX: 1,
    stepY: g.stride[0],
    stepX: g.stride[1],
    padY: g.padding[0],
    padX: g.padding[1],
    offsetBias: 0,
    offsetC: 0,
    outerC: kh * kw,
    rowC: n,
  };
  const { kernel, grid } = KERNELS[by];
  const storages = [gradient.storage, x.storage, parts.storage];
  x.device.run(kernel, convImplicitDefines(type, parts.dtype as Float), storages, params, grid(m, n, splits));
  if (splits > 1) copyInto(out, { strides: out.strides, offset: 0 }, parts.sum(0));
}
