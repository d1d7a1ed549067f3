/** What a host's adapter is and can do, and whether it computes right: the figures of `refl doctor`. */
import {
  type AdapterIdentity,
  type Capabilities,
  createDevice,
  type Device,
  type Host,
  scope,
  type Tensor,
  tensor,
} from "@refl/tensor";
import type { Run, TableEvent } from "./events.ts";

/** One thing that was looked at. */
export interface DoctorCheck {
  readonly name: string;
  readonly ok: boolean;
  readonly message: string;
}

/** What the doctor found. Times say how this adapter does today, not what it could do. */
export interface DoctorReport {
  readonly host: string;
  readonly adapter: AdapterIdentity;
  readonly capabilities: Capabilities;
  readonly features: readonly string[];
  /** The device's limits by WebGPU's names; sizes in bytes. */
  readonly limits: Readonly<Record<string, number>>;
  /** Seconds of the first matmul: making its pipeline and running it once. */
  readonly firstDispatchSeconds: number;
  readonly matmul: {
    /** Rows and columns of the square matrices. */
    readonly size: number;
    readonly gflops: number;
    /** Largest error against float64, relative to the largest result. */
    readonly relativeError: number;
  };
  readonly checks: readonly DoctorCheck[];
  /** Whether all checks are well. */
  readonly ok: boolean;
}

const LIMIT_NAMES = [
  "maxBufferSize",
  "maxStorageBufferBindingSize",
  "maxStorageBuffersPerShaderStage",
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupSizeX",
  "maxComputeWorkgroupsPerDimension",
] as const;

/** f32 accumulation over 512 products of numbers below 1 stays far under this. */
const MOST_ERROR = 1e-4;

const MEBIBYTE = 2 ** 20;

/** Reproducible values in -1..1. */
function values(count: number, seed: number): Float32Array {
  return Float32Array.from({ length: count }, (_, i) => Math.fround(Math.sin(i * 12.9898 + seed) * 43758.5453) % 1);
}

/** Largest error of some rows of a product against float64, relative to the largest entry of those rows. */
function errorOf(a: Float32Array, b: Float32Array, product: Float32Array, size: number): number {
  let worst = 0;
  let largest = 0;
  for (const row of [0, size >> 1, size - 1])
    for (let column = 0; column < size; column++) {
      let sum = 0;
      for (let k = 0; k < size; k++) sum += a[row * size + k]! * b[k * size + column]!;
      largest = Math.max(largest, Math.abs(sum));
      const error = Math.abs(product[row * size + column]! - sum);
      // A NaN must not pass as no error.
      worst = error <= worst ? worst : Number.isNaN(error) ? Number.POSITIVE_INFINITY : error;
    }
  return worst / largest;
}

/** Seconds of one product: the best of several batches of at least a tenth of a second, as other programs share the machine. */
async function timeMatmul(device: Device, a: Tensor, b: Tensor, signal?: AbortSignal): Promise<number> {
  let best = Number.POSITIVE_INFINITY;
  let repeats = 1;
  for (let measured = 0; measured < 5 && !signal?.aborted; ) {
    const start = performance.now();
    for (let i = 0; i < repeats; i++) scope(() => void a.matmul(b));
    await device.sync();
    const seconds = (performance.now() - start) / 1000;
    best = Math.min(best, seconds / repeats);
    if (seconds < 0.1 && repeats < 4096) repeats *= 2;
    else measured++;
  }
  return best;
}

function checksOf(device: Device, limits: Readonly<Record<string, number>>, relativeError: number): DoctorCheck[] {
  const binding = limits["maxStorageBufferBindingSize"]!;
  const checks: DoctorCheck[] = [
    {
      name: "matmul",
      ok: relativeError <= MOST_ERROR,
      message:
        relativeError <= MOST_ERROR
          ? `agrees with float64 to ${relativeError.toExponential(1)}`
          : `differs from float64 by ${relativeError.toExponential(1)}: this driver computes wrong results; update it`,
    },
    {
      name: "binding size",
      ok: binding >= 128 * MEBIBYTE,
      message: `${binding / MEBIBYTE} MiB${binding >= 128 * MEBIBYTE ? "" : " is below WebGPU's default of 128 MiB: larger models will not fit"}`,
    },
  ];
  if (/nvidia/i.test(device.adapter.vendor) && !device.capabilities.f16)
    checks.push({
      name: "f16",
      ok: true,
      message:
        "hidden by Dawn on NVIDIA; start with enable-dawn-features=allow_unsafe_apis,vulkan_enable_f16_on_nvidia to use it",
    });
  return checks;
}

function tables(report: DoctorReport): TableEvent[] {
  const { adapter, capabilities, matmul } = report;
  const yes = (value: boolean): string => (value ? "yes" : "no");
  return [
    {
      type: "table",
      title: "Adapter",
      header: ["what", "value"],
      rows: [
        ["host", report.host],
        ["description", adapter.description || undefined],
        ["vendor", adapter.vendor || undefined],
        ["architecture", adapter.architecture || undefined],
        ["device", adapter.device || undefined],
        ["software adapter", yes(adapter.software)],
        ["f16", yes(capabilities.f16)],
        ["subgroup size", capabilities.subgroupSize ? String(capabilities.subgroupSize) : "none fixed"],
        ["timestamps", yes(capabilities.timestamps)],
        ["features", report.features.join(" ") || undefined],
        ["first dispatch", `${report.firstDispatchSeconds.toFixed(3)} s`],
        [`matmul ${matmul.size} x ${matmul.size}`, `${matmul.gflops.toPrecision(3)} GFLOP/s`],
      ],
    },
    { type: "table", title: "Limits", header: ["limit", "value"], rows: Object.entries(report.limits) },
    {
      type: "table",
      title: "Checks",
      header: ["check", "result", "what"],
      rows: report.checks.map(({ name, ok, message }) => [name, ok ? "ok" : "failed", message]),
    },
  ];
}

/**
 * Looks at the host's adapter: identity, limits, features, one matmul against float64 and its speed. Throws `NoAdapterError` when there
 * is none. The device is given back at the end.
 */
export async function* doctor(host: Host, signal?: AbortSignal): Run<DoctorReport> {
  let started = performance.now();
  const elapsed = (): number => {
    const seconds = (performance.now() - started) / 1000;
    started = performance.now();
    return seconds;
  };
  yield { type: "stage", stage: "device" };
  const device = await createDevice({ host });
  try {
    yield { type: "stage-end", stage: "device", seconds: elapsed() };
    yield { type: "stage", stage: "compile" };
    const size = device.adapter.software ? 512 : 1024;
    const [left, right] = [values(size * size, 1), values(size * size, 2)];
    using a = tensor(device, left, [size, size]);
    using b = tensor(device, right, [size, size]);
    using product = a.matmul(b);
    const result = await product.data();
    const firstDispatchSeconds = elapsed();
    yield { type: "stage-end", stage: "compile", seconds: firstDispatchSeconds };
    const limits = Object.fromEntries(LIMIT_NAMES.map((name) => [name, device.gpu.limits[name]]));
    const relativeError = errorOf(left, right, result as Float32Array, size);
    const seconds = await timeMatmul(device, a, b, signal);
    const checks = checksOf(device, limits, relativeError);
    const report: DoctorReport = {
      host: device.hostName,
      adapter: device.adapter,
      capabilities: device.capabilities,
      features: [...device.gpu.features].sort(),
      limits,
      firstDispatchSeconds,
      matmul: { size, gflops: (2 * size ** 3) / seconds / 1e9, relativeError },
      checks,
      ok: checks.every((check) => check.ok),
    };
    yield* tables(report);
    yield { type: "result", summary: report };
    return report;
  } finally {
    device.dispose();
  }
}
