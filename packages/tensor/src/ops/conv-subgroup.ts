/** Convolutions on devices with subgroups: images are laid out channels-last with their padding, then multiplied by subgroup broadcast. */
import {
  convGather,
  convPack,
  convPackWeight,
  convPixelGrid,
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
import { copyInto } from "./copy.ts";
import { gemm } from "./gemm.ts";

type Float = "f32" | "f16";

/** Most bytes of one laid-out operand; larger batches are worked off in slices. */
const MOST_BYTES = 64 * 2 ** 20;

/** Pixels from which a 1x1 convolution is one matrix product per image: fewer leave lanes of the product idle. */
const POINTWISE_PIXELS = 32;

const groupsOf = (channels: number): number => Math.ceil(channels / 4);

/** Slices of the batch whose images of `bytes` fit {@link MOST_BYTES}; null when a single one does not. */
function slices(batch: number, bytes: number): { first: number; count: number }[] | null {
  const most = Math.floor(MOST_BYTES / bytes);
  if (most === 0) return null;
  const each = Math.ceil(batch / Math.ceil(batch / most));
  return Array.from({ length: Math.ceil(batch / each) }, (_, i) => ({
    first: i * each,
    count: Math.min(each, batch - i * each),
  }));
}

/** Images in the order that the products read: [count, height, width, 4 · groups], the source at (padY, padX); negative padding crops. */
interface Layout {
  readonly height: number;
  readonly width: number;
  readonly pad: Pair;
}

function packImages(x: Tensor, layout: Layout, slice: { first: number; count: number }): Tensor {
  const [, channels, height, width] = x.shape as [number, number, number, number];
  const groups = groupsOf(channels);
  const packed = Tensor.empty(x.device, [slice.count, layout.height, layout.width, 4 * groups], x.dtype);
  const pixels = slice.count * layout.height * layout.width;
  const params = {
    pixels,
    height,
    width,
    paddedHeight: layout.height,
    paddedWidth: layout.width,
    padY: layout.pad[0],
    padX: layout.pad[1],
    channels,
    groups,
    offset: x.offset + slice.first * channels * height * width,
  };
  x.device.run(convPack, { T: x.dtype }, [x.storage, packed.storage], params, convPixelGrid(pixels, groups));
  return packed;
}

/** Weights as [rows, kh · kw, 4 · groups]: rows are output channels, or with `turned` input channels and the window turned round. */
function packWeight(weight: Tensor, turned: boolean): Tensor {
  const [cout, cin, kh, kw] = weight.shape as [number, number, number, number];
  const window = kh * kw;
  const [rows, channels] = turned ? [cin, cout] : [cout, cin];
  const groups = groupsOf(channels);
  const packed = Tensor.empty(weight.device, [rows, window, 4 * groups], weight.dtype);
  const [rowStep, channelStep] = turned ? [window, cin * window] : [cin * window, window];
  const params = { rows, channels, groups, window, rowStep, channelStep, offset: weight.offset };
  weight.device.run(
    convPackWeight,
    { T: weight.dtype, FLIP: turned },
    [weight.storage, packed.storage],
    params,
    linearGrid(rows * groups, 64),
  );
  return packed;
}

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
  const parts = slices(batch, layout.height * layout.width * 4 * groups * BYTES[x.dtype]);
  if (!parts) return false;
  const device = x.device;
  const w = packWeight(weight, turned);
  const rows = m <= 4 ? 4 : 16;
  const vec4 = (oh * ow) % 4 === 0;
  const defines = {
    ...convSubgroupDefines(x.dtype as Float, device.capabilities.subgroupSize, rows),
    BIAS: bias !== null,
    VEC4: vec4,
  };
  for (const part of parts) {
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
    };
    const storages = bias
      ? [w.storage, images.storage, bias.storage, out.storage]
      : [w.storage, images.storage, out.storage];
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

const usable = (device: Device): boolean => device.capabilities.subgroupSize >= 4;

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

/** out = dX; false where this rung does not apply. Operands are contiguous. */
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
  const [kh, kw] = g.kernel;
  if (g.stride[0] === 1 && g.stride[1] === 1) {
    // A convolution of dY with the window turned round and the channels exchanged.
    const layout = {
      height: g.height + kh - 1,
      width: g.width + kw - 1,
      pad: [kh - 1 - g.padding[0], kw - 1 - g.padding[1]] as const,
    };
    return product({ x: gradient, layout, stride: [1, 1], kernel: g.kernel, weight, turned: true, bias: null }, out);
  }
  return gathered(g, { gradient, weight }, out);
}

/** dX of a strided convolution: all windows' products first, then each pixel gathers those that covered it. */
function gathered(g: ConvGeometry, { gradient, weight }: { gradient: Tensor; weight: Tensor }, out: Tensor): boolean {
  const device = gradient.device;
  const [kh, kw] = g.kernel;
  const pixels = g.out[0] * g.out[1];
  const groups = groupsOf(g.cin);
  const columns = kh * kw * 4 * groups;
  if (pixels % 4 || g.cout % 4) return false;
  const parts = slices(g.batch, pixels * columns * BYTES[gradient.dtype]);
  if (!parts) return false;
  const w = packWeight(weight, false);
  for (const part of parts) {
    const products = Tensor.empty(device, [part.count, pixels, columns], gradient.dtype);
    gemm(device, {
      m: pixels,
      n: columns,
      k: g.cout,
      batch: part.count,
      dtype: gradient.dtype as Float,
      a: {
        storage: gradient.storage,
        offset: gradient.offset + part.first * g.cout * pixels,
        row: 1,
        col: pixels,
        batch: g.cout * pixels,
      },
      b: { storage: w.storage, offset: 0, row: columns, col: 1, batch: 0 },
      c: { storage: products.storage },
    });
    const count = part.count * g.height * g.width;
    const params = {
      pixels: count,
      height: g.height,
      width: g.width,
      outHeight: g.out[0],
      outWidth: g.out[1],
      kHeight: kh,
      kWidth: kw,
      strideY: g.stride[0],
      strideX: g.stride[1],
      padY: g.padding[0],
      padX: g.padding[1],
      channels: g.cin,
      groups,
      offset: part.first * g.cin * g.height * g.width,
    };
    device.run(
      convGather,
      { T: gradient.dtype },
      [products.storage, out.storage],
      params,
      convPixelGrid(count, groups),
    );
    products.dispose();
  }
  return true;
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
  if (pointwise(g) && x.dtype === "f32" && g.batch * g.cout * g.cin * 4 <= MOST_BYTES) {
    const products = g.batch === 1 ? out : Tensor.empty(device, [g.batch, ...out.shape], "f32");
    gemm(device, {
      m: g.cout,
      n: g.cin,
      k: area,
      batch: g.batch,
      a: { storage: gradient.storage, offset: gradient.offset, row: area, col: 1, batch: g.cout * area },
      b: { storage: x.storage, offset: x.offset, row: 1, col: area, batch: g.cin * area },
      c: { storage: products.storage },
    });
    if (g.batch > 1) copyInto(out, { strides: out.strides, offset: 0 }, products.sum(0));
    return true;
  }
  const [kh, kw] = g.kernel;
  const [oh, ow] = g.out;
  const groups = groupsOf(g.cin);
  const width4 = Math.ceil(ow / 4);
  const layout = { height: (oh - 1) * g.stride[0] + kh, width: (4 * width4 - 1) * g.stride[1] + kw, pad: g.padding };
  const batches = slices(g.batch, layout.height * layout.width * 4 * groups * BYTES[x.dtype]);
  if (!batches) return false;
  const n4 = kh * kw * groups;
  const rows = g.cout <= 4 ? 4 : 16;
  const tiles = Math.ceil(g.cout / rows) * Math.ceil(n4 / subgroup);
  const lines = g.batch * oh;
  const wanted = Math.max(Math.ceil(ENOUGH_GROUPS / tiles), Math.ceil((lines * ow) / MOST_STEPS));
  const each = Math.ceil(lines / Math.min(wanted, lines));
  const splits = batches.map((part) => Math.ceil((part.count * oh) / each));
  const total = splits.reduce((a, b) => a + b, 0);
  if (total * g.cout * n4 * 16 > MOST_BYTES) return false;
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
  const params = { rows: g.cout, channels: g.cin, groups, window: kh * kw, splits: total };
  device.run(convUnpackWeight, { T: out.dtype }, [parts.storage, out.storage], params, linearGrid(g.cout * groups, 64));
  return true;
}

/** x with its last axis filled up to `width` with zeros. */
function widened(x: Tensor, width: number): Tensor {
  const wide = Tensor.empty(x.device, [...x.shape.slice(0, -1), width], x.dtype).fill_(0);
  copyInto(wide, { strides: wide.strides, offset: 0 }, x);
  return wide;
}
