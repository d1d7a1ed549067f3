/** PyTorch's times of the same shapes, made by `reference/bench_torch.py` in another process: context, not a peer. */
import type { BenchResult } from "./result.ts";

export interface TorchTimes {
  readonly version: string;
  /** Milliseconds by device (`cpu`, `cuda`) and row name. */
  readonly devices: Readonly<Record<string, { readonly description: string; readonly rows: Record<string, number> }>>;
}

/** The result with `torchMs` in the rows that PyTorch ran. */
export function mergeTorch(result: BenchResult, { version, devices }: TorchTimes): BenchResult {
  const rows = result.rows.map((row) => {
    const times = Object.entries(devices).flatMap(([device, { rows: own }]): [string, number][] =>
      own[row.name] === undefined ? [] : [[device, own[row.name]!]],
    );
    return times.length ? { ...row, torchMs: Object.fromEntries(times) } : row;
  });
  const names = Object.entries(devices).map(([device, { description }]) => `${device}: ${description}`);
  return { ...result, rows, engines: { ...result.engines, PyTorch: `${version} (${names.join("; ")})` } };
}
