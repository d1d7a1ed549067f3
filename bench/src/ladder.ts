/** Rows of this engine alone: the kernels of one work beside each other, from the naive one to the fastest. */
import { type Device, FixedChooser } from "@refl/tensor";
import type { Clock } from "./clock.ts";
import type { Engine, Program } from "./engines/engine.ts";
import { prepare } from "./engines/ours.ts";
import { worstError } from "./entry.ts";
import { type Entrant, type MeasureOptions, measure } from "./measure.ts";
import { reference } from "./reference/reference.ts";
import type { Row } from "./report/result.ts";
import { ROWS, type RowSpec } from "./rows.ts";
import { drawInputs, flops, type HostArray } from "./work.ts";

/** A row's work, the op whose kernels differ, and their names as the op calls them. */
interface LadderSpec {
  readonly row: RowSpec;
  readonly op: string;
  readonly kernels: readonly string[];
}

const ladder = (name: string, op: string, kernels: readonly string[]): LadderSpec => ({
  row: ROWS.find((row) => row.name === name)!,
  op,
  kernels,
});

const GEMM = ["naive", "register", "register4", "shared", "quad", "subgroup4", "subgroup16"];
const CONV = ["naive", "register", "shared", "subgroup"];
const ATTENTION = ["portable1", "portable", "subgroup1", "subgroup", "products"];
const ROW = ["thread", "tree", "subgroup"];

/** All ladders. */
export const LADDERS: readonly LadderSpec[] = [
  ladder("matmul 512³", "matmul", GEMM),
  ladder("matmul 64×784×512", "matmul", GEMM),
  ladder("conv 3×3 64→64, 32²", "conv2d", CONV),
  ladder("conv 3×3 64→64, 32² dX", "conv2dInputGrad", CONV),
  ladder("conv 3×3 64→64, 32² dW", "conv2dWeightGrad", CONV),
  ladder("attention 8×256×64", "scaledDotProductAttention", ATTENTION),
  ladder("attention 8×256×64 fwd+bwd", "scaledDotProductAttentionBackward", ATTENTION),
  ladder("softmax 1024×1024", "softmax", ROW),
  ladder("LayerNorm 1024×768", "layerNorm", ROW),
  ladder("GroupNorm 320×32², 32 groups", "groupNorm", ROW),
];

const titleOf = ({ row }: LadderSpec): string => `ladder: ${row.name}`;

/** The ladders whose name holds `only`; all when it is null. They are rows of the family `ladder`. */
export function selectLadders(only: string | null): LadderSpec[] {
  const wanted = only?.toLowerCase() ?? "";
  return LADDERS.filter((spec) => titleOf(spec).toLowerCase().includes(wanted));
}

interface LadderHost {
  readonly clock: Clock;
  log(line: string): void;
}

/** The program of a work whose `op` takes the named kernel every time. Throws `RangeError` where that kernel does not take it. */
function rung(device: Device, { row, op }: LadderSpec, kernel: string, inputs: Record<string, HostArray>): Program {
  const chooser = new FixedChooser({ [op]: kernel });
  const program = device.withChooser(chooser, () => prepare(device, row.work, inputs));
  return {
    run: () => device.withChooser(chooser, () => program.run()),
    read: () => device.withChooser(chooser, () => program.read()),
    dispose: () => program.dispose(),
  };
}

/** A row for each kernel that this device has, all timed in turn; those whose results differ from float64 by more than the row's tolerance are left out. */
export async function runLadder(
  spec: LadderSpec,
  device: Device,
  { clock, log }: LadderHost,
  options: MeasureOptions,
): Promise<Row[]> {
  const { work, tolerance } = spec.row;
  const inputs = drawInputs(work);
  const expected = reference(work, inputs);
  const entrants: (Entrant & { readonly error: number })[] = [];
  for (const kernel of spec.kernels) {
    const engine: Engine = {
      name: kernel,
      version: "",
      sync: () => device.sync(),
      prepare: async () => null,
      dispose: () => {},
    };
    let program: Program | null = null;
    try {
      program = rung(device, spec, kernel, inputs);
      const error = worstError(expected, await program.read());
      if (!(error <= tolerance)) throw new RangeError(`wrong: relative error ${error.toExponential(1)}`);
      entrants.push({ engine, program, error });
    } catch (cause) {
      if (!(cause instanceof RangeError)) throw cause;
      log(`${titleOf(spec)}, ${kernel}: ${cause.message}`);
      await program?.dispose();
    }
  }
  const timings = await measure(entrants, clock, options);
  for (const { program } of entrants) await program.dispose();
  const rungs = entrants.map(({ engine: { name }, error }, i) => {
    const timing = timings[i]!;
    if (timing instanceof Error) throw timing;
    const { wall, cpu } = timing;
    return { name, error, wall, cpu, seconds: (cpu ? cpu.median / clock.threads : wall.median) / 1000 };
  });
  const products = flops(work);
  const least = Math.min(...rungs.map(({ seconds }) => seconds));
  return rungs.map(({ name, error, wall, cpu, seconds }): Row => {
    const ofBest = least / seconds;
    const row: Row = {
      name: `${titleOf(spec)}, ${name}`,
      family: "ladder",
      direction: spec.row.direction,
      oursMs: wall.median,
      peersMs: {},
      ratio: null,
      checked: true,
      madMs: { refl: wall.mad },
      errors: { refl: error },
      ...(cpu && { cpuMs: { refl: cpu.median }, cpuMadMs: { refl: cpu.mad } }),
      ...(products > 0 && { gflops: products / seconds / 1e9 }),
      ofBest,
    };
    log(`${row.name}: ${(cpu ?? wall).median.toFixed(2)} ms, ${(100 * ofBest).toFixed(0)} % of the best`);
    return row;
  });
}
