/** Convolutions on devices with subgroups: images are laid out channels-last with their padding, then multiplied by subgroup broadcast. */
import {
  convSubgroup,
  convSubgroupDefines,
  convSubgroupGrid,
  convUnpackWeight,
  convWeightSubgroup,
  linearGrid,
} from "@refl/kernels-wgsl";
import type { Device } from "../device.ts";
import { BYTES } from "../dtype.ts";
import { Tensor } from "../tensor.ts";
import type { ConvGeometry, Pair } from "./conv.ts";
import { bindable, groupsOf, type Layout, mostBytes, packImages, packWeight, slices } from "./conv-layout.ts";
import { copyInto } from "./copy.ts";
import { gemm } from "./gemm.ts";

type Float = "f32" | "f16";

/** Pixels from which a 1x1 convolution is one matrix product per image: fewer leave lanes of the product idle. */
const POINTWISE_PIXELS = 32;

interface Product {
  readonly x: Tensor;
  readonly layout: Layout;
  readonly stride: Pair;
  readonly kernel: Pair;
  readonly weight: Tensor;
  readonly turned: boolean;
  readonly bias: Tensor | null;
}

/** out [B, rows, oh, ow] = laid-out weights times the windows of laid-out images; false when an image is too large. */
function product({ x, layout, stride, kernel, weight, turned, bias }: Product, out: Tensor): boolean {
  const [batch, m, oh, ow] = out.shape as [number, number, number, number];
  const groups = groupsOf(x.shape[1]!);
  const bytes = layout.height * layout.width * 4 * groups * BYTES[x.dtype];
  const device = x.device;
  if (!bindable(device, bytes)) return false;
  const w = packWeight(weight, { turned });
  const rows = m <= 4 ? 4 : 16;
  const vec4 = (oh * ow) % 4 === 0;
  const defines = {
    ...convSubgroupDefines(x.dtype as Float, device.capabilities.subgroupSize, rows),
    VEC4: vec4,
  };
  for (const part of slices(device, batch, bytes)) {
    const images = packImages(x, layout, part);
    const n = part.count * oh * ow;
    const params = {
      m,
      n,
      k4: kernel[0] * kernel[1] * groups,
      run: kernel[1] * groups,
      jump: (layout.width - kernel[1]) * groups + 1,
      height: oh,
      width: ow,
      image: layout.height * layout.width * groups,
      stepY: stride[0] * layout.width * groups,
      stepX: stride[1] * groups,
      offsetC: part.first * m * oh * ow,
      offsetBias: bias?.offset ?? 0,
      biased: bias ? 1 : 0,
    };
    // Without a bias some buffer is bound in its place and not read.
    const storages = [w.storage, images.storage, (bias ?? w).storage, out.storage];
    device.run(convSubgroup, defines, storages, params, convSubgroupGrid(m, n, device.capabilities.subgroupSize, rows));
    images.dispose();
  }
  return true;
}

/** Whether the convolution is a plain matrix product per image that the aligned kernel takes: x itself is the second matrix. */
function pointwise(g: ConvGeometry): boolean {
  const one = [...g.kernel, ...g.stride].every((n) => n === 1) && g.padding[0] === 0 && g.padding[1] === 0;
  const area = g.height * g.width;
  return one && area >= POINTWISE_PIXELS && area % 4 === 0 && g.cin % 4 === 0 && g.cout % 4 === 0;
}

/** Whether a device's subgroups are large enough for the products by broadcast. */
export const usable = (device: Device): boolean => device.capabilities.subgroupSize >= 4;

/** out = conv(x, weight) + bias; false where this rung does not apply. Operands are contiguous. */
export function subgroupForward(
  g: ConvGeometry,
  { x, weight, bias }: { x: Tensor; weight: Tensor; bias: Tensor | null },
  out: Tensor,
): boolean {
  if (!usable(x.device)) return false;
  const area = g.height * g.width;
  if (pointwise(g)) {
    gemm(x.device, {
      m: g.cout,
      n: area,
      k: g.cin,
      batch: g.batch,
      dtype: x.dtype as Float,
      a: { storage: weight.storage, offset: weight.offset, row: g.cin, col: 1, batch: 0 },
      b: { storage: x.storage, offset: x.offset, row: area, col: 1, batch: g.cin * area },
      c: { storage: out.storage },
      ...(bias ? { bias: { storage: bias.storage, offset: bias.offset, along: "row" as const } } : {}),
    });
    return true;
  }
  const [kh, kw] = g.kernel;
  const layout = {
    height: (g.out[0] - 1) * g.stride[0] + kh,
    width: (g.out[1] - 1) * g.stride[1] + kw,
    pad: g.padding,
  };
  return product({ x, layout, stride: g.stride, kernel: g.kernel, weight, turned: false, bias }, out);
}

/** out = dX for stride 1; false where this rung does not apply. Operands are contiguous. */
export function subgroupInputGrad(
  g: ConvGeometry,
  { gradient, weight }: { gradient: Tensor; weight: Tensor },
  out: Tensor,
): boolean {
  const device = gradient.device;
  if (!usable(device)) return false;
  const area = g.height * g.width;
  if (pointwise(g)) {
    gemm(device, {
      m: g.cin,
      n: area,
      k: g.cout,
      batch: g.batch,
      dtype: gradient.dtype as Float,
      a: { storage: weight.storage, offset: weight.offset, row: 1, col: g.cin, batch: 0 },
      b: { storage: gradient.storage, offset: gradient.offset, row: area, col: 1, batch: g.cout * area },
      c: { storage: out.storage },
    });
    return true;
  }
  // A convolution of dY with the window turned round and the channels exchanged.
  const [kh, kw] = g.kernel;
  const layout = {
    height: g.height + kh - 1,
    width: g.width + kw - 1,
    pad: [kh - 1 - g.padding[0], kw - 1 - g.padding[1]] as const,
  };
  return product({ x: gradient, layout, stride: [1, 1], kernel: g.kernel, weight, turned: true, bias: null }, out);
}

/** Steps of k that one part adds up at most, so that rounding errors stay those of a short sum. */
const MOST_STEPS = 16384;

/** Workgroups that fill a device. */
const ENOUGH_GROUPS = 256;

/** out = dW; false where this rung does not apply. Operands are contiguous. */
export function subgroupWeightGrad(
  g: ConvGeometry,
  { gradient, x }: { gradient: Tensor; x: Tensor },
  out: Tensor,
): boolean {
  const device = x.device;
  if (!usable(device)) return false;
  const subgroup = device.capabilities.subgroupSize;
  const area = g.height * g.width;
  if (pointwise(g) && x.dtype === "f32" && g.batch * g.cout * g.cin * 4 <= mostBytes(device)) {
    const products = Tensor.empty(device, [g.batch, g.cout, g.cin], "f32");
    gemm(device, {
      m: g.cout,
      n: g.cin,
      k: area,
      batch: g.batch,
      a: { storage: gradient.storage, offset: gradient.offset, row: area, col: 1, batch: g.cout * area },
      b: { storage: x.storage, offset: x.offset, row: 1, col: area, batch: g.cin * area },
      c: { storage: products.storage },
    });
    addParts(g, products, g.batch, out);
    return true;
  }
  const [kh, kw] = g.kernel;
  const [oh, ow] = g.out;
  const groups = groupsOf(g.cin);
  const width4 = Math.ceil(ow / 4);
  const layout = { height: (oh - 1) * g.stride[0] + kh, width: (4 * width4 - 1) * g.stride[1] + kw, pad: g.padding };
  const bytes = layout.height * layout.width * 4 * groups * BYTES[x.dtype];
  if (!bindable(device, bytes)) return false;
  const batches = slices(device, g.batch, bytes);
  const n4 = kh * kw * groups;
  const rows = g.cout <= 4 ? 4 : 16;
  const tiles = Math.ceil(g.cout / rows) * Math.ceil(n4 / subgroup);
  const lines = g.batch * oh;
  const wanted = Math.max(Math.ceil(ENOUGH_GROUPS / tiles), Math.ceil((lines * ow) / MOST_STEPS));
  const each = Math.ceil(lines / Math.min(wanted, lines));
  const splits = batches.map((part) => Math.ceil((part.count * oh) / each));
  const total = splits.reduce((a, b) => a + b, 0);
  if (total * g.cout * n4 * 16 > mostBytes(device)) return false;
  const d = ow % 4 ? widened(gradient, 4 * width4) : gradient;
  const parts = Tensor.empty(device, [total, g.cout, n4 * 4], "f32");
  let done = 0;
  batches.forEach((part, i) => {
    const images = packImages(x, layout, part);
    const stepX = g.stride[1] * groups;
    const line = layout.width * groups;
    const params = {
      m: g.cout,
      n4,
      lines: each,
      allLines: part.count * oh,
      height: oh,
      width4,
      offsetD: d.offset + part.first * g.cout * oh * 4 * width4,
      image: layout.height * line,
      line,
      run: kw * groups,
      strideY: g.stride[0],
      stepX,
      jumpLine: g.stride[0] * line - (width4 - 1) * 4 * stepX,
      jumpImage: layout.height * line - (oh - 1) * g.stride[0] * line - (width4 - 1) * 4 * stepX,
      jumpD: (g.cout - 1) * oh * width4 + 1,
      part: done,
    };
    const grid = [Math.ceil(n4 / subgroup), Math.ceil(g.cout / rows), splits[i]!] as const;
    device.run(
      convWeightSubgroup,
      convSubgroupDefines(x.dtype as Float, subgroup, rows),
      [d.storage, images.storage, parts.storage],
      params,
      grid,
    );
    images.dispose();
    done += splits[i]!;
  });
  addParts(g, parts, total, out);
  return true;
}

/** out = the sum of weight gradients [splits, Cout, kh · kw, 4 · groups] in PyTorch's order of axes. */
function addParts(g: ConvGeometry, parts: Tensor, splits: number, out: Tensor): void {
  const groups = groupsOf(g.cin);
  const params = { rows: g.cout, channels: g.cin, groups, window: g.kernel[0] * g.kernel[1], splits };
  out.device.run(
    convUnpackWeight,
    { T: out.dtype },
    [parts.storage, out.storage],
    params,
    linearGrid(g.cout * groups, 64),
  );
}

/** x with its last axis filled up to `width` with zeros. */
function widened(x: Tensor, width: number): Tensor {
  const wide = Tensor.empty(x.device, [...x.shape.slice(0, -1), width], x.dtype).fill_(0);
  copyInto(wide, { strides: wide.strides, offset: 0 }, x);
  return wide;
}
