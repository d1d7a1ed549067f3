/** Convolution kernels: the portable implicit product on three rungs, and the subgroup products over channels-last images with their layout kernels. */
import { type Defines, defineKernel, linearGrid } from "../kernel.ts";
import {
  conv_gather,
  conv_implicit,
  conv_naive,
  conv_pack,
  conv_pack_weight,
  conv_phase_subgroup,
  conv_register,
  conv_subgroup,
  conv_unpack_weight,
  conv_weight_subgroup,
} from "../wgsl.gen.ts";

type Float = "f32" | "f16";

/** Defines of the portable products; `output` is f32 for parts that are added later. */
export function convImplicitDefines(type: Float, output: Float, bias = false): Defines {
  return { T: type, O: output, BIAS: bias };
}

/** What the three portable products share. */
const implicit = {
  buffers: [
    ["a", "read"],
    ["x", "read"],
    ["bias?BIAS", "read"],
    ["c", "read_write"],
  ],
  params: {
    m: "u32",
    n: "u32",
    k: "u32",
    chunk: "u32",
    splits: "u32",
    offsetA: "u32",
    rowA: "u32",
    outerA: "u32",
    offsetX: "u32",
    outerX: "u32",
    planeX: "u32",
    height: "i32",
    width: "i32",
    columnHeight: "u32",
    columnWidth: "u32",
    kHeight: "u32",
    kWidth: "u32",
    scaleY: "i32",
    scaleX: "i32",
    stepY: "i32",
    stepX: "i32",
    padY: "i32",
    padX: "i32",
    offsetBias: "u32",
    offsetC: "u32",
    outerC: "u32",
    rowC: "u32",
  },
  workgroup: [64, 1, 1],
  variants: [convImplicitDefines("f32", "f32"), convImplicitDefines("f32", "f32", true)],
} as const;

/** One thread to an element. */
export const convNaive = defineKernel({ name: "conv_naive", source: conv_naive, ...implicit });

/** A block of 4 × 4 elements to a thread. */
export const convRegister = defineKernel({ name: "conv_register", source: conv_register, ...implicit });

/** Tiles of 64 × 64 in workgroup memory. */
export const convImplicit = defineKernel({ name: "conv_implicit", source: conv_implicit, ...implicit });

/** Grid of {@link convNaive}; the splits are z. */
export function convNaiveGrid(m: number, n: number, splits: number): [number, number, number] {
  const [x, y] = linearGrid(m * n, 64);
  return [x, y, splits];
}

/** Grid of {@link convRegister}; columns that exceed one dimension continue in z, before the splits. */
export function convRegisterGrid(m: number, n: number, splits: number): [number, number, number] {
  const [x, y] = linearGrid(n, 32);
  return [x, Math.ceil(m / 32), y * splits];
}

/** Grid of {@link convImplicit}; columns that exceed one dimension continue in z, before the splits. */
export function convImplicitGrid(m: number, n: number, splits: number): [number, number, number] {
  const [x, y] = linearGrid(n, 64);
  return [x, Math.ceil(m / 64), y * splits];
}

/** Splits of k that give the portable product about 256 workgroups, each with at least 256 steps; `chunk` is a multiple of the tile's depth. */
export function convSplits(m: number, n: number, k: number): { splits: number; chunk: number } {
  const tiles = Math.ceil(m / 64) * Math.ceil(n / 64);
  const wanted = Math.max(1, Math.min(Math.ceil(k / 256), Math.ceil(256 / tiles)));
  const chunk = Math.ceil(k / wanted / 16) * 16;
  return { splits: Math.ceil(k / chunk), chunk };
}

export const convPack = defineKernel({
  name: "conv_pack",
  source: conv_pack,
  buffers: [
    ["x", "read"],
    ["o", "read_write"],
  ],
  params: {
    pixels: "u32",
    height: "u32",
    width: "u32",
    paddedHeight: "u32",
    paddedWidth: "u32",
    padY: "u32",
    padX: "u32",
    channels: "u32",
    groups: "u32",
    offset: "u32",
  },
  workgroup: [64, 1, 1],
  variants: [{ T: "f32" }],
});

export const convPackWeight = defineKernel({
  name: "conv_pack_weight",
  source: conv_pack_weight,
  buffers: [
    ["w", "read"],
    ["o", "read_write"],
  ],
  params: {
    rows: "u32",
    channels: "u32",
    groups: "u32",
    window: "u32",
    rowStep: "u32",
    channelStep: "u32",
    offset: "u32",
    start: "u32",
    turn: "u32",
  },
  workgroup: [64, 1, 1],
  variants: [{ T: "f32" }],
});

export const convUnpackWeight = defineKernel({
  name: "conv_unpack_weight",
  source: conv_unpack_weight,
  buffers: [
    ["parts", "read"],
    ["o", "read_write"],
  ],
  params: { rows: "u32", channels: "u32", groups: "u32", window: "u32", splits: "u32" },
  workgroup: [64, 1, 1],
  variants: [{ T: "f32" }],
});

/** Defines of the two subgroup products: the subgroup size and the rows per workgroup. */
export function convSubgroupDefines(type: Float, subgroup: number, rows: 4 | 16): Defines {
  return { T: type, SG: subgroup, ROWS: rows, QUADS: Math.ceil(rows / subgroup) };
}

export const convSubgroup = defineKernel({
  name: "conv_subgroup",
  source: conv_subgroup,
  enables: ["subgroups"],
  buffers: [
    ["w", "read"],
    ["x", "read"],
    ["bias", "read"],
    ["c", "read_write"],
  ],
  params: {
    m: "u32",
    n: "u32",
    k4: "u32",
    run: "u32",
    jump: "u32",
    height: "u32",
    width: "u32",
    image: "u32",
    stepY: "u32",
    stepX: "u32",
    offsetC: "u32",
    offsetBias: "u32",
    biased: "u32",
  },
  workgroup: ["SG", 1, 1],
  variants: [
    { ...convSubgroupDefines("f32", 8, 16), VEC4: true },
    { ...convSubgroupDefines("f32", 4, 4), VEC4: false },
  ],
});

export const convWeightSubgroup = defineKernel({
  name: "conv_weight_subgroup",
  source: conv_weight_subgroup,
  enables: ["subgroups"],
  buffers: [
    ["d", "read"],
    ["x", "read"],
    ["c", "read_write"],
  ],
  params: {
    m: "u32",
    n4: "u32",
    lines: "u32",
    allLines: "u32",
    height: "u32",
    width4: "u32",
    offsetD: "u32",
    image: "u32",
    line: "u32",
    run: "u32",
    strideY: "u32",
    stepX: "u32",
    jumpLine: "u32",
    jumpImage: "u32",
    jumpD: "u32",
    part: "u32",
  },
  workgroup: ["SG", 1, 1],
  variants: [convSubgroupDefines("f32", 8, 16), convSubgroupDefines("f32", 4, 4)],
});

/** One axis of an image whose pixels are shared out among the phases of a stride. */
export interface PhasedAxis {
  /** Pixels. */
  readonly size: number;
  readonly window: number;
  readonly stride: number;
  readonly pad: number;
}

/** The phases of an axis as `conv_phase_subgroup` has them: window positions, what lies between a phase's pixel and the last line that it reads, pixels. */
export const phasesOf = ({ size, window, stride, pad }: PhasedAxis) =>
  Array.from({ length: stride }, (_, at) => {
    const first = (at + pad) % stride;
    return {
      taps: Math.max(0, Math.ceil((window - first) / stride)),
      shift: Math.floor((at + pad) / stride),
      size: Math.max(0, Math.ceil((size - at) / stride)),
    };
  });

export const convPhaseSubgroup = defineKernel({
  name: "conv_phase_subgroup",
  source: conv_phase_subgroup,
  enables: ["subgroups"],
  buffers: [
    ["w", "read"],
    ["x", "read"],
    ["c", "read_write"],
  ],
  params: {
    m: "u32",
    tiles: "u32",
    batch: "u32",
    height: "u32",
    width: "u32",
    kHeight: "u32",
    kWidth: "u32",
    strideY: "u32",
    strideX: "u32",
    padY: "u32",
    padX: "u32",
    lines: "u32",
    pixels: "u32",
    padTop: "u32",
    padLeft: "u32",
    groups: "u32",
    offsetC: "u32",
  },
  workgroup: ["SG", 1, 1],
  variants: [convSubgroupDefines("f32", 8, 16), convSubgroupDefines("f32", 4, 4)],
});

/** Grid of {@link convPhaseSubgroup} for phases of `n` pixels at most; columns that exceed one dimension continue in z. */
export function convPhaseSubgroupGrid(
  tiles: number,
  phases: number,
  n: number,
  subgroup: number,
): [number, number, number] {
  const [x, y] = linearGrid(n, 4 * subgroup);
  return [x, tiles * phases, y];
}

export const convGather = defineKernel({
  name: "conv_gather",
  source: conv_gather,
  buffers: [
    ["columns", "read"],
    ["o", "read_write"],
  ],
  params: {
    pixels: "u32",
    height: "u32",
    width: "u32",
    outHeight: "u32",
    outWidth: "u32",
    kHeight: "u32",
    kWidth: "u32",
    strideY: "u32",
    strideX: "u32",
    padY: "u32",
    padX: "u32",
    channels: "u32",
    firstGroup: "u32",
    groups: "u32",
    offset: "u32",
  },
  workgroup: [64, 1, 1],
  variants: [{ T: "f32" }],
});

/** Grid of the layout kernels that take one thread per pixel and 8 channel groups. */
export function convPixelGrid(pixels: number, groups: number): [number, number, number] {
  const [x, y] = linearGrid(pixels, 64);
  return [x, y, Math.ceil(groups / 8)];
}

/** Grid of the forward product; columns that exceed one dimension continue in z. */
export function convSubgroupGrid(m: number, n: number, subgroup: number, rows: number): [number, number, number] {
  const [x, y] = linearGrid(n, 4 * subgroup);
  return [x, Math.ceil(m / rows), y];
}
