/** Two-dimensional convolution, its input gradient and its weight gradient. */
import {
  convGather,
  convPack,
  convPhaseSubgroup,
  convSubgroup,
  convWeightSubgroup,
  gemmSubgroup,
} from "@refl/kernels-wgsl";
import { isFloat } from "../dtype.ts";
import { DTypeError, ShapeError } from "../errors.ts";
import { apply, type ForwardTable } from "../op.ts";
import { numel } from "../shape.ts";
import { Tensor } from "../tensor.ts";
import { choose } from "../tune/chooser.ts";
import { gatheredInputGrad } from "./conv-gather.ts";
import {
  IMPLICIT_TEXTS,
  type ImplicitKernel,
  implicitForward,
  implicitInputGrad,
  implicitWeightGrad,
} from "./conv-implicit.ts";
import { phasedInputGrad, prefersPhases } from "./conv-phases.ts";
import { subgroupForward, subgroupInputGrad, subgroupWeightGrad } from "./conv-subgroup.ts";
import { contiguous } from "./copy.ts";
import { MOST_NAIVE, portableRung } from "./gemm.ts";

/** Height, then width. */
export type Pair = readonly [number, number];

interface Window {
  readonly stride: Pair;
  /** Zeros on both sides of each axis. */
  readonly padding: Pair;
}

export interface ConvAttrs {
  /** Inputs x [B, Cin, H, W], weight [Cout, Cin, kh, kw], optional bias [Cout]. */
  conv2d: Window;
  /** Inputs dY [B, Cout, oh, ow] and weight; gives dX, whose height and width are `size`. */
  conv2dInputGrad: Window & { readonly size: Pair };
  /** Inputs dY and x; gives dW, whose last two axes are `kernel`. */
  conv2dWeightGrad: Window & { readonly kernel: Pair };
}

/** All sizes of a convolution. */
export interface ConvGeometry {
  readonly batch: number;
  readonly cin: number;
  readonly height: number;
  readonly width: number;
  readonly cout: number;
  readonly kernel: Pair;
  /** Height and width of the result. */
  readonly out: Pair;
  readonly stride: Pair;
  readonly padding: Pair;
}

function geometry(x: readonly number[], weight: readonly number[], { stride, padding }: Window): ConvGeometry {
  const [batch, cin, height, width] = x as [number, number, number, number];
  const [cout, , kh, kw] = weight as [number, number, number, number];
  const out: Pair = [outSize(height, kh, stride[0], padding[0]), outSize(width, kw, stride[1], padding[1])];
  return { batch, cin, height, width, cout, kernel: [kh, kw], out, stride, padding };
}

const outSize = (size: number, kernel: number, stride: number, padding: number): number =>
  Math.floor((size + 2 * padding - kernel) / stride) + 1;

/** The kernels of a convolution: the portable ones, and what {@link subgroupForward} and its like make of the shape, where that is not the portable one. */
export type ConvKernel = ImplicitKernel | "subgroup" | StridedKernel;

/** The ways to dX of a strided convolution. */
type StridedKernel = "gather" | "phases";

const isImplicit = (kernel: ConvKernel): kernel is ImplicitKernel =>
  kernel === "naive" || kernel === "register" || kernel === "shared";

/** What a tuner's measurements are of. */
const TEXTS = [
  ...IMPLICIT_TEXTS,
  convPack,
  convSubgroup,
  convWeightSubgroup,
  convPhaseSubgroup,
  convGather,
  gemmSubgroup,
];

/** Runs a convolution by its standard kernel, or by the one that the device's chooser prefers. */
function choosing(
  device: Tensor["device"],
  op: keyof ConvAttrs,
  g: ConvGeometry,
  dtype: string,
  run: (kernel: ConvKernel) => void,
): void {
  const subgroups = device.capabilities.subgroupSize >= 4;
  const strided = op === "conv2dInputGrad" && Math.max(...g.stride) > 1;
  const standard = strided
    ? prefersPhases(device, g)
      ? "phases"
      : "gather"
    : subgroups
      ? "subgroup"
      : portableRung(device);
  if (!device.chooser) {
    run(standard);
    return;
  }
  const { batch, cin, cout, kernel, stride, padding, out } = g;
  const products = batch * cin * cout * kernel[0] * kernel[1] * out[0] * out[1];
  const candidates: ConvKernel[] = strided ? ["gather"] : ["register", "shared"];
  const slow: ConvKernel[] = [];
  if (!strided) (products <= MOST_NAIVE ? candidates : slow).unshift("naive");
  if (subgroups) candidates.push(strided ? "phases" : "subgroup");
  const form = `${dtype} ${kernel.join("x")}/${stride.join("x")}+${padding.join("x")}`;
  const sizes = { batch, cin, cout, h: out[0], w: out[1] };
  run(choose(device.chooser, { op, form, sizes, standard, candidates, slow, kernels: TEXTS, run }));
}

export const convForward = {
  conv2d: ([x, weight, bias], attrs) => {
    const g = geometry(x!.shape, weight!.shape, attrs);
    const out = Tensor.empty(x!.device, [g.batch, g.cout, ...g.out], x!.dtype);
    if (numel(out.shape) === 0) return out;
    const operands = { x: contiguous(x!), weight: contiguous(weight!), bias: bias ? contiguous(bias) : null };
    choosing(out.device, "conv2d", g, out.dtype, (kernel) => {
      if (isImplicit(kernel)) implicitForward(g, operands, out, kernel);
      else if (!subgroupForward(g, operands, out)) implicitForward(g, operands, out);
    });
    return out;
  },
  conv2dInputGrad: ([gradient, weight], attrs) => {
    const shape = [gradient!.shape[0]!, weight!.shape[1]!, ...attrs.size];
    const g = geometry(shape, weight!.shape, attrs);
    const out = Tensor.empty(gradient!.device, shape, gradient!.dtype);
    if (numel(shape) === 0) return out;
    const operands = { gradient: contiguous(gradient!), weight: contiguous(weight!) };
    choosing(out.device, "conv2dInputGrad", g, out.dtype, (kernel) => {
      // The implicit product would multiply zeros between the pixels of a strided dY.
      if (kernel === "gather") gatheredInputGrad(g, operands, out);
      else if (kernel === "phases") {
        if (!phasedInputGrad(g, operands, out)) gatheredInputGrad(g, operands, out);
      } else if (isImplicit(kernel)) implicitInputGrad(g, operands, out, kernel);
      else if (!subgroupInputGrad(g, operands, out)) implicitInputGrad(g, operands, out);
    });
    return out;
  },
  conv2dWeightGrad: ([gradient, x], attrs) => {
    const shape = [gradient!.shape[1]!, x!.shape[1]!, ...attrs.kernel];
    const g = geometry(x!.shape, shape, attrs);
    const out = Tensor.empty(x!.device, shape, x!.dtype);
    if (numel(shape) === 0) return out;
    if (g.batch === 0) return out.fill_(0);
    const operands = { gradient: contiguous(gradient!), x: contiguous(x!) };
    choosing(out.device, "conv2dWeightGrad", g, out.dtype, (kernel) => {
      if (isImplicit(kernel)) implicitWeightGrad(g, operands, out, kernel);
      else if (!subgroupWeightGrad(g, operands, out)) implicitWeightGrad(g, operands, out);
    });
    return out;
  },
} satisfies ForwardTable<ConvAttrs>;

/** Options of {@link conv2d}; one number serves both axes. */
export interface Conv2dOptions {
  readonly stride?: number | Pair;
  readonly padding?: number | Pair;
}

const pair = (value: number | Pair): Pair => (typeof value === "number" ? [value, value] : value);

/**
 * Cross-correlation of images with a window, as `torch.nn.functional.conv2d` with one group and no dilation.
 * x: [B, Cin, H, W], weight: [Cout, Cin, kh, kw], bias: [Cout] or null → [B, Cout, oh, ow] with oh = ⌊(H + 2·padding − kh) / stride⌋ + 1.
 * stride and padding default to 1 and 0; uneven padding is `pad` beforehand. All f32 or all f16, sums in f32. Throws ShapeError and DTypeError.
 */
export function conv2d(x: Tensor, weight: Tensor, bias: Tensor | null = null, options: Conv2dOptions = {}): Tensor {
  const stride = pair(options.stride ?? 1);
  const padding = pair(options.padding ?? 0);
  const inputs = bias ? [x, weight, bias] : [x, weight];
  const dtypes = inputs.map((t) => t.dtype);
  if (dtypes.some((d) => d !== dtypes[0] || !isFloat(d)))
    throw new DTypeError("conv2d", dtypes, "operands must all be f32 or all f16");
  const shapes = inputs.map((t) => t.shape);
  if (x.rank !== 4 || weight.rank !== 4)
    throw new ShapeError("conv2d", shapes, "x must be [B, Cin, H, W] and the weight [Cout, Cin, kh, kw]");
  if (x.shape[1] !== weight.shape[1])
    throw new ShapeError("conv2d", shapes, `x has ${x.shape[1]} channels, the weight takes ${weight.shape[1]}`);
  if (bias && (bias.rank !== 1 || bias.shape[0] !== weight.shape[0]))
    throw new ShapeError("conv2d", shapes, `the bias must be [${weight.shape[0]}]`);
  if (stride.some((s) => !Number.isInteger(s) || s < 1))
    throw new ShapeError("conv2d", shapes, `stride [${stride.join(", ")}] must be positive integers`);
  if (padding.some((n) => !Number.isInteger(n) || n < 0))
    throw new ShapeError("conv2d", shapes, `padding [${padding.join(", ")}] must be integers of at least 0`);
  const { out, kernel } = geometry(x.shape, weight.shape, { stride, padding });
  if (out.some((n) => n < 1) || kernel.some((n) => n < 1)) {
    throw new ShapeError(
      "conv2d",
      shapes,
      `a window of ${kernel.join(" x ")} does not fit an image of ${x.shape[2]} x ${x.shape[3]} with padding [${padding.join(", ")}]`,
    );
  }
  return apply("conv2d", inputs, { stride, padding });
}
