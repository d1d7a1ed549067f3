/** How fast an adapter is: kernels of each kind timed for a moment, from which the time of other kernels follows roughly. */
import {
  capture,
  conv2d,
  type Device,
  DryDevice,
  full,
  type KernelUse,
  keep,
  scaledDotProductAttention,
  scope,
  type Tensor,
  type WorkTotals,
  workBetween,
  workTotals,
} from "@refl/tensor";

/** What an adapter does in a second, and what it takes to begin. */
export interface Rates {
  /** Multiplications and additions of products a second, by family. */
  readonly matmul: number;
  readonly conv: number;
  readonly attention: number;
  /** Bytes that kernels without products read and write a second. */
  readonly bytes: number;
  /** Seconds that a kernel takes that has nothing to do. */
  readonly dispatch: number;
}

/** Work of one kind over operands of its own. */
interface Probe {
  readonly operands: readonly (readonly number[])[];
  readonly run: (...operands: Tensor[]) => Tensor;
}

const PROBES = {
  matmul: {
    operands: [
      [512, 512],
      [512, 512],
    ],
    run: (a, b) => a!.matmul(b!),
  },
  conv: {
    operands: [
      [4, 64, 32, 32],
      [64, 64, 3, 3],
    ],
    run: (x, weight) => conv2d(x!, weight!, null, { padding: 1 }),
  },
  attention: {
    operands: [
      [2, 8, 256, 32],
      [2, 8, 256, 32],
      [2, 8, 256, 32],
    ],
    run: (q, k, v) => scaledDotProductAttention(q!, k!, v!),
  },
  bytes: { operands: [[1 << 20], [1 << 20]], run: (x, y) => x!.add(y!) },
} satisfies Record<string, Probe>;

/** Kernels of the plan by which the cost of a kernel that does nothing is measured. */
const CHAIN = 256;

/** Seconds that a measurement takes at least, and how often it is repeated; the least counts, since other work on the machine only adds. */
const LEAST_SECONDS = 0.02;
const REPEATS = 3;

/** Seconds of one `run`, the first of which is not counted. */
export async function secondsPerRun(device: Device, run: () => void): Promise<number> {
  run();
  await device.sync();
  let least = Number.POSITIVE_INFINITY;
  for (let repeat = 0, count = 1; repeat < REPEATS; ) {
    const start = performance.now();
    for (let i = 0; i < count; i++) run();
    await device.sync();
    const seconds = (performance.now() - start) / 1000;
    if (seconds < LEAST_SECONDS) {
      count *= 2;
      continue;
    }
    least = Math.min(least, seconds / count);
    repeat++;
  }
  return least;
}

/** Runs `use` with a function that runs the probe once. */
async function withProbe<T>(
  device: Device,
  { operands, run }: Probe,
  dtype: "f32" | "f16",
  use: (once: () => void) => Promise<T>,
): Promise<T> {
  const tensors = operands.map((shape) => keep(full(device, shape, 0.5, dtype)));
  try {
    return await use(() => scope(() => void run(...tensors)));
  } finally {
    for (const tensor of tensors) tensor.dispose();
  }
}

/** Times the probes on `device` on operands of `dtype`: a few tenths of a second, and the compilation of their kernels. */
export async function measureRates(device: Device, dtype: "f32" | "f16" = "f32"): Promise<Rates> {
  const dry = new DryDevice(device);
  const dispatch = await emptyKernel(device);
  const rate = async (probe: Probe, amount: (work: WorkTotals) => number): Promise<number> => {
    const before = dry.work;
    await withProbe(dry, probe, dtype, async (once) => once());
    const work = workTotals(workBetween(before, dry.work));
    const seconds = await withProbe(device, probe, dtype, (once) => secondsPerRun(device, once));
    return amount(work) / Math.max(seconds - dispatch * work.dispatches, seconds / 10);
  };
  return {
    matmul: await rate(PROBES.matmul, ({ flops }) => flops.matmul),
    conv: await rate(PROBES.conv, ({ flops }) => flops.conv),
    attention: await rate(PROBES.attention, ({ flops }) => flops.attention),
    bytes: await rate(PROBES.bytes, ({ bytes }) => bytes),
    dispatch,
  };
}

async function emptyKernel(device: Device): Promise<number> {
  const plan = capture(device, { x: { shape: [4] } }, ({ x }) => {
    let y = x;
    for (let i = 0; i < CHAIN; i++) y = y.add(1);
    return { y };
  });
  try {
    const x = new Float32Array(4);
    return (await secondsPerRun(device, () => void plan.replay({ x }))) / CHAIN;
  } finally {
    plan.dispose();
  }
}

/** Roughly the seconds that an adapter of these rates takes for a kernel. */
export function secondsOf({ family, flops, bytes }: KernelUse, rates: Rates): number {
  return flops / rates[family] + bytes / rates.bytes + rates.dispatch;
}
