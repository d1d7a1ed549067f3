/** The rows of kernels and steps: names, families and sizes. */
import type { ConvWork, MatmulWork, Work } from "./work.ts";

export interface RowSpec {
  readonly name: string;
  readonly family: string;
  readonly direction: "forward" | "backward" | "step";
  readonly work: Work;
  /** Largest relative error against float64 that passes. */
  readonly tolerance: number;
  /** Rows of the long run only. */
  readonly full?: true;
}

const gemm = (name: string, work: Omit<MatmulWork, "op" | "part" | "batch"> & { batch?: number }, full?: true) =>
  (["forward", "backward"] as const).map(
    (part): RowSpec => ({
      name: part === "forward" ? name : `${name} dA, dB`,
      family: "matmul",
      direction: part,
      work: { op: "matmul", part, batch: 1, ...work },
      tolerance: 1e-4,
      ...(full && { full }),
    }),
  );

const cube = (n: number): Omit<MatmulWork, "op" | "part" | "batch"> => ({ m: n, k: n, n });

const conv = (name: string, shape: Omit<ConvWork, "op" | "part">, full?: true) =>
  (["forward", "dX", "dW"] as const).map(
    (part): RowSpec => ({
      name: part === "forward" ? name : `${name} ${part}`,
      family: "conv",
      direction: part === "forward" ? "forward" : "backward",
      work: { op: "conv", part, ...shape },
      tolerance: 1e-4,
      ...(full && { full }),
    }),
  );

/** A row forward and, where the work has gradients, one of forward and backward together. */
function both(
  name: string,
  family: string,
  make: (part: "forward" | "both") => Work,
  { full, gradient = true }: { full?: true; gradient?: boolean } = {},
): RowSpec[] {
  return (gradient ? (["forward", "both"] as const) : (["forward"] as const)).map((part) => ({
    name: part === "forward" ? name : `${name} fwd+bwd`,
    family,
    direction: part === "forward" ? "forward" : "backward",
    work: make(part),
    tolerance: 1e-4,
    ...(full && { full }),
  }));
}

const attention = (tokens: number, full?: true): RowSpec[] =>
  both(
    `attention 8×${tokens}×64`,
    "attention",
    (part) => ({ op: "attention", part, heads: 8, tokens, size: 64 }),
    full && { full },
  );

const step = (name: string, work: Work, full?: true): RowSpec => ({
  name,
  family: "step",
  direction: "step",
  work,
  tolerance: 1e-3,
  ...(full && { full }),
});

/** All rows, small ones first within a family. */
export const ROWS: readonly RowSpec[] = [
  ...gemm("matmul 256³", cube(256)),
  ...gemm("matmul 512³", cube(512)),
  ...gemm("matmul 1024³", cube(1024)),
  ...gemm("matmul 2048³", cube(2048), true),
  ...gemm("matmul 4096³", cube(4096), true),
  ...gemm("matmul 64×784×512", { m: 64, k: 784, n: 512 }),
  ...gemm("matmul 8×4096×4096", { m: 8, k: 4096, n: 4096 }),
  ...gemm("matmul Aᵀ·B 512³", { ...cube(512), transA: true }).slice(0, 1),
  ...gemm("matmul A·Bᵀ 512³", { ...cube(512), transB: true }).slice(0, 1),
  ...gemm("matmul Aᵀ·Bᵀ 512³", { ...cube(512), transA: true, transB: true }).slice(0, 1),
  ...gemm("bmm 8×(256×64×256)", { batch: 8, m: 256, k: 64, n: 256 }),
  ...conv("conv 3×3 64→64, 32²", { n: 1, c: 64, h: 32, o: 64, k: 3, stride: 1, padding: 1 }),
  ...conv("conv 3×3 320→320, 32²", { n: 1, c: 320, h: 32, o: 320, k: 3, stride: 1, padding: 1 }),
  ...conv("conv 3×3 64→64, 16², batch 8", { n: 8, c: 64, h: 16, o: 64, k: 3, stride: 1, padding: 1 }),
  ...conv("conv 3×3 128→128, 8², batch 8", { n: 8, c: 128, h: 8, o: 128, k: 3, stride: 1, padding: 1 }),
  ...conv("conv 3×3 stride 2 64→64, 32²", { n: 1, c: 64, h: 32, o: 64, k: 3, stride: 2, padding: 1 }),
  ...conv("conv 1×1 320→320, 32²", { n: 1, c: 320, h: 32, o: 320, k: 1, stride: 1, padding: 0 }),
  ...conv("conv 3×3 320→320, 64²", { n: 1, c: 320, h: 64, o: 320, k: 3, stride: 1, padding: 1 }, true),
  ...conv("conv 3×3 640→640, 32²", { n: 1, c: 640, h: 32, o: 640, k: 3, stride: 1, padding: 1 }, true),
  ...conv("conv 3×3 1280→1280, 16²", { n: 1, c: 1280, h: 16, o: 1280, k: 3, stride: 1, padding: 1 }, true),
  ...both("softmax 1024×1024", "softmax", (part) => ({ op: "softmax", part, rows: 1024, cols: 1024 })),
  ...both("LayerNorm 1024×768", "norm", (part) => ({ op: "layerNorm", part, rows: 1024, cols: 768 })),
  ...both("GroupNorm 320×32², 32 groups", "norm", (part) => groupNorm(part, false)),
  ...both("GroupNorm+SiLU 320×32², 32 groups", "norm", (part) => groupNorm(part, true)),
  ...both("GELU 4 M", "elementwise", (part) => ({ op: "gelu", part, size: 1 << 22 })),
  ...attention(256),
  ...attention(1024),
  ...attention(4096, true),
  ...both("embedding 2048×256, 1024 ids", "embedding", (part) => ({
    op: "embedding",
    part,
    count: 2048,
    width: 256,
    ids: 1024,
  })),
  ...both(
    "bicubic 4×3, 64²→224²",
    "resample",
    (part) => ({ op: "bicubic", part: part === "both" ? "forward" : part, n: 4, c: 3, h: 64, size: 224 }),
    { gradient: false },
  ),
  ...both("upsample 2× 320, 32²", "resample", (part) => ({ op: "upsample", part, n: 1, c: 320, h: 32 })),
  ...([1, 0, "all"] as const).map(
    (axis): RowSpec => ({
      name: `sum 1024×1024, ${axis === "all" ? "all" : axis ? "rows" : "columns"}`,
      family: "reduce",
      direction: "forward",
      work: { op: "sum", part: "forward", rows: 1024, cols: 1024, axis },
      tolerance: 1e-4,
    }),
  ),
  step("MLP step 784-512-512-10, batch 64", { op: "mlp", part: "both", batch: 64, widths: [784, 512, 512, 10] }),
  step("ViT block 197×384, 6 heads", { op: "vitBlock", part: "both", tokens: 197, width: 384, heads: 6 }),
  step("UNet block 128, 16², batch 4", { op: "unetBlock", part: "both", n: 4, c: 128, h: 16, groups: 32 }),
  step("AdamW 10 M", { op: "adamw", part: "forward", count: 10_000_000 }),
  step("AdamW 50 M", { op: "adamw", part: "forward", count: 50_000_000 }, true),
];

function groupNorm(part: "forward" | "both", silu: boolean): Work {
  return { op: "groupNorm", part, n: 1, c: 320, h: 32, groups: 32, silu };
}

/** The rows of a size whose name or family holds `only`, letters' case aside. */
export function selectRows(size: "quick" | "full", only: string | null): RowSpec[] {
  const wanted = only?.toLowerCase() ?? "";
  return ROWS.filter(
    ({ name, family, full }) =>
      (size === "full" || !full) && (family.includes(wanted) || name.toLowerCase().includes(wanted)),
  );
}
