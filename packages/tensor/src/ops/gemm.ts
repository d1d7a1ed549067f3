/** The matrix product that ops are made of: chooses the kernel from sizes, alignment and the device, and encodes it. */
import {
  type Activation,
  gemmDefines,
  gemmGrid,
  gemmNaive,
  gemmQuad,
  gemmQuadDefines,
  gemmQuadGrid,
  gemmRegister,
  gemmRegisterVec4,
  gemmRegisterVec4Defines,
  gemmSubgroup,
  gemmSubgroupDefines,
  gemmTiled,
} from "@refl/kernels-wgsl";
import type { Device } from "../device.ts";
import type { Storage } from "../pool.ts";
import { choose } from "../tune/chooser.ts";

/** A matrix in a storage: element (r, c) of batch b lies at `offset + b·batch + r·row + c·col`, in elements. */
export interface MatrixOperand {
  readonly storage: Storage;
  readonly offset: number;
  readonly row: number;
  readonly col: number;
  readonly batch: number;
}

export interface GemmOptions {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly batch?: number;
  readonly dtype?: "f32" | "f16";
  readonly a: MatrixOperand;
  readonly b: MatrixOperand;
  /** C is written row-major without gaps, batch after batch from `offset`. */
  readonly c: { readonly storage: Storage; readonly offset?: number };
  readonly bias?: { readonly storage: Storage; readonly offset: number; readonly along: "row" | "col" };
  readonly activation?: Activation;
}

const aligned = (...values: number[]): boolean => values.every((v) => v % 4 === 0);

/**
 * The leading dimension of an operand stored row by row (false) or column by column (true), null where it is neither or not aligned to vec4.
 */
function storedAs(x: MatrixOperand, rows: number, cols: number): { transposed: boolean; lead: number } | null {
  if (!aligned(x.offset, x.batch)) return null;
  if ((x.col === 1 || cols === 1) && aligned(x.row, cols)) return { transposed: false, lead: x.row };
  if ((x.row === 1 || rows === 1) && aligned(x.col, rows)) return { transposed: true, lead: x.col };
  return null;
}

/** The kernels of a product; the subgroup's by the rows of a workgroup. */
export type GemmKernel = "naive" | "register" | "register4" | "shared" | "quad" | "subgroup4" | "subgroup16";

/** What a tuner's measurements are of. */
const TEXTS = [gemmNaive, gemmRegister, gemmRegisterVec4, gemmTiled, gemmQuad, gemmSubgroup];

/** The portable kernel of a device: what software adapters spend on workgroup memory and barriers exceeds what its tiles save. */
export function portableRung({ adapter, capabilities }: Device): "register" | "shared" {
  return adapter.software && capabilities.subgroupSize === 0 ? "register" : "shared";
}

/** Multiplications up to which a tuner tries the naive kernel: beyond, it is far behind, and slow enough for its trial to be felt. */
export const MOST_NAIVE = 2 ** 22;

/** Multiplications from which a k that four does not divide is worth a pipeline of its own: the tokens of a picture, in weights' gradients. */
const LEAST_TAIL = 2 ** 24;

/** How a matrix is stored: by rows (n), by columns (t), or with gaps in both (s). */
const order = (x: MatrixOperand): string => (x.col === 1 ? "n" : x.row === 1 ? "t" : "s");

/** C = act(A B + bias) for every batch. Operands may have any strides; the fast kernel takes those that are aligned to four elements. */
export function gemm(device: Device, options: GemmOptions): void {
  const { m, n, k, batch = 1, dtype = "f32", a, b, c, bias, activation = "none" } = options;
  if (m === 0 || n === 0 || batch === 0) return;
  const along = bias?.along ?? "none";
  const defines = gemmDefines(dtype, along, activation);
  const storages = bias ? [a.storage, b.storage, bias.storage, c.storage] : [a.storage, b.storage, c.storage];
  // The naive and the subgroup kernel bind some buffer for the bias in any case.
  const withBias = bias ? storages : [a.storage, b.storage, a.storage, c.storage];
  const subgroup = device.capabilities.subgroupSize;
  const vec4 = aligned(n, c.offset ?? 0, m * n * (batch > 1 ? 1 : 0));
  const tail = k % 4 !== 0;
  const left = vec4 && (!tail || m * n * k >= LEAST_TAIL) ? storedAs(a, m, k) : null;
  const right = left && (!tail || left.transposed) ? storedAs(b, k, n) : null;
  // One object for all kernels, each of which takes what it declares: joining objects costs more than all else here.
  const params = {
    m,
    n,
    k,
    offsetA: a.offset,
    offsetB: b.offset,
    offsetC: c.offset ?? 0,
    batchA: a.batch,
    batchB: b.batch,
    batchC: m * n,
    offsetBias: bias?.offset ?? 0,
    biasRow: along === "row" ? 1 : 0,
    biasCol: along === "col" ? 1 : 0,
    lda: left?.lead ?? 0,
    ldb: right?.lead ?? 0,
    rowA: a.row,
    colA: a.col,
    rowB: b.row,
    colB: b.col,
  };
  const wide = left !== null && right !== null && !tail;
  const fits = subgroup >= 4 && left !== null && right !== null && !(tail && right.transposed);
  const thin = m < 8 || n < 8 || m * n < 1024;
  const quad = fits && !tail && subgroup === 4 && device.adapter.software && m > 4 && n > 16;
  const aligning: GemmKernel = quad ? "quad" : m <= 4 ? "subgroup4" : "subgroup16";
  const standard: GemmKernel = fits ? aligning : thin ? "naive" : portableRung(device);
  const run = (kernel: GemmKernel): void => {
    switch (kernel) {
      case "naive":
        device.run(gemmNaive, gemmDefines(dtype, "none", activation), withBias, params, gemmGrid.naive(m, n, batch));
        break;
      case "register":
        device.run(gemmRegister, defines, storages, params, gemmGrid.register(m, n, batch));
        break;
      case "register4": {
        const variant = gemmRegisterVec4Defines(defines, { a: left!.transposed, b: right!.transposed });
        device.run(gemmRegisterVec4, variant, storages, params, gemmGrid.registerVec4(m, n, batch));
        break;
      }
      case "shared":
        device.run(gemmTiled, defines, storages, params, gemmGrid.tiled(m, n, batch));
        break;
      case "quad": {
        const variant = gemmQuadDefines(defines, { a: left!.transposed, b: right!.transposed });
        device.run(gemmQuad, variant, storages, params, gemmQuadGrid(m, n, batch));
        break;
      }
      default: {
        const rows = kernel === "subgroup4" ? 4 : 16;
        const transposed = { a: left!.transposed, b: right!.transposed };
        const variant = gemmSubgroupDefines(defines, subgroup, rows, transposed, tail);
        device.run(gemmSubgroup, variant, withBias, params, gemmGrid.subgroup(m, n, batch, subgroup, rows));
      }
    }
  };
  if (!device.chooser) {
    run(standard);
    return;
  }
  const candidates: GemmKernel[] = ["register", "shared"];
  if (wide) candidates.push("register4");
  const slow: GemmKernel[] = [];
  (thin || batch * m * n * k <= MOST_NAIVE ? candidates : slow).unshift("naive");
  if (quad) candidates.push("quad");
  if (fits) candidates.push("subgroup4", "subgroup16");
  const form = `${dtype} ${order(a)}${order(b)}${wide ? " aligned" : fits ? " tail" : ""}`;
  run(
    choose(device.chooser, {
      op: "matmul",
      form,
      sizes: { m, n, k, batch },
      standard,
      candidates,
      slow,
      kernels: TEXTS,
      run,
    }),
  );
}
