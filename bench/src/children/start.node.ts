/** A child process that imports one engine and computes a product of 256³: `start.mjs <engine> <folder of bundles>`. It prints the milliseconds from import to result. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { create, globals } from "webgpu";
import type { StartReport } from "./reports.ts";

const N = 256;
const [name, folder] = process.argv.slice(2) as [string, string];
const load = (file: string): Promise<unknown> => import(pathToFileURL(join(folder, file)).href);
const data = Float32Array.from({ length: N * N }, (_, i) => ((i * 7919) % 101) / 101 - 0.5);

/** Hands `navigator.gpu` to peers that look there; kept for ever, or Dawn crashes. */
function lendGpu(): void {
  Object.assign(globalThis, globals);
  Object.defineProperty(globalThis, "navigator", {
    value: { gpu: create([]), userAgent: "node" },
    configurable: true,
  });
}

interface Refl {
  nodeHost(): unknown;
  createDevice(options: { host: unknown }): Promise<unknown>;
  tensor(device: unknown, data: Float32Array, shape: number[]): ReflTensor;
}
interface ReflTensor {
  matmul(other: ReflTensor): ReflTensor;
  data(): Promise<ArrayLike<number>>;
}

interface Jax {
  init(device: string): Promise<unknown>;
  defaultDevice(device: string): void;
  readonly numpy: {
    array(data: Float32Array, options: { shape: number[] }): { readonly ref: object };
    matmul(a: object, b: object): { data(): Promise<ArrayLike<number>> };
  };
}

interface Tf {
  setBackend(name: string): Promise<boolean>;
  tensor(data: Float32Array, shape: number[]): object;
  matMul(a: object, b: object): { data(): Promise<ArrayLike<number>> };
}

interface Torch {
  initWebGPUAsync(): Promise<boolean>;
  readonly Tensor: new (data: number[][], dtype: string, device: string) => TorchTensor;
}
interface TorchTensor {
  mm(other: TorchTensor): TorchTensor;
  toArrayAsync(): Promise<number[][]>;
}

const PRODUCTS: Record<string, () => Promise<ArrayLike<number>>> = {
  refl: async () => {
    const refl = (await load("refl.mjs")) as Refl;
    const device = await refl.createDevice({ host: refl.nodeHost() });
    const a = refl.tensor(device, data, [N, N]);
    return a.matmul(a).data();
  },
  "jax-js": async () => {
    lendGpu();
    const jax = (await load("jax.mjs")) as Jax;
    await jax.init("webgpu");
    jax.defaultDevice("webgpu");
    const a = jax.numpy.array(data, { shape: [N, N] });
    return jax.numpy.matmul(a.ref, a).data();
  },
  tfjs: async () => {
    lendGpu();
    const tf = (await load("tfjs.mjs")) as Tf;
    await tf.setBackend("webgpu");
    const a = tf.tensor(data, [N, N]);
    return tf.matMul(a, a).data();
  },
  "webgpu-torch": async () => {
    lendGpu();
    const { torch } = (await load("webgpu-torch.mjs")) as { torch: Torch };
    await torch.initWebGPUAsync();
    const rows = Array.from({ length: N }, (_, i) => [...data.subarray(i * N, (i + 1) * N)]);
    const a = new torch.Tensor(rows, "float32", "webgpu");
    return (await a.mm(a).toArrayAsync()).flat();
  },
};

// Reading the files first leaves the disk out of the figure.
for (const file of ["refl.mjs", "jax.mjs", "tfjs.mjs", "webgpu-torch.mjs"]) readFileSync(join(folder, file));
const log = console.log;
console.log = () => {};
const start = performance.now();
const product = await PRODUCTS[name]!();
const ms = performance.now() - start;
let expected = 0;
for (let k = 0; k < N; k++) expected += data[3 * N + k]! * data[k * N + 5]!;
const report: StartReport = { ms, correct: Math.abs(product[3 * N + 5]! - expected) < 1e-3 };
log(JSON.stringify(report));
process.exit(0);
