/** A child process that runs one engine on Dawn's null backend, where kernels cost nothing: `host.mjs <engine> <folder of bundles>`. It prints microseconds of the JS thread. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { AdamW, backward, ParameterGroup, requireGrad } from "@refl/autograd";
import { capture, createDevice, crossEntropy, keep, scope, type Tensor, tensor } from "@refl/tensor";
import { create, globals } from "webgpu";
import type { Engine, PeerHost } from "../engines/engine.ts";
import { startJax } from "../engines/jax.ts";
import { startTfjs } from "../engines/tfjs.ts";
import { recordDevices } from "../intercept.ts";
import { median } from "../stats.ts";
import { drawInputs, type Work } from "../work.ts";
import type { HostReport } from "./reports.ts";

const [name, folder] = process.argv.slice(2) as [string, string];
Object.assign(globalThis, globals);
const gpu = create(["backend=null"]);
Object.defineProperty(globalThis, "navigator", { value: { gpu, userAgent: "node" }, configurable: true });
const devices = recordDevices(gpu);

const CHAIN = 500;
const ROUNDS = 15;
const MLP: Work & { op: "mlp" } = { op: "mlp", part: "both", batch: 16, widths: [32, 32, 32, 10] };

/** Milliseconds of this thread: on Linux those that it ran, so that a busy machine does not count. */
function threadTime(): number {
  try {
    return Number(readFileSync(`/proc/self/task/${process.pid}/schedstat`, "utf8").split(" ")[0]) / 1e6;
  } catch {
    return performance.now();
  }
}

/** Work is repeated in a round until it has taken this long: the kernel's counter moves in steps of a few milliseconds. */
const ROUND_MS = 80;

/** Median microseconds of `work` per unit; the first rounds, in which the code is compiled, are left out. */
async function micros(units: number, work: () => unknown, settle: () => Promise<unknown>): Promise<number> {
  const times: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    let spent = 0;
    let repeats = 0;
    while (spent < ROUND_MS) {
      const start = threadTime();
      for (let i = 0; i < 10; i++) await work();
      spent += threadTime() - start;
      repeats += 10;
      await settle();
    }
    times.push((1000 * spent) / units / repeats);
  }
  return median(times.slice(5));
}

async function refl(): Promise<HostReport> {
  const device = await createDevice({ host: { name: "node", gpu } });
  const settle = (): Promise<void> => device.sync();
  const x = keep(tensor(device, new Float32Array(64), [64]));
  const chain = (from: Tensor): Tensor => {
    let y = from;
    for (let i = 0; i < CHAIN; i++) {
      const next = y.add(x);
      if (y !== from) y.dispose();
      y = next;
    }
    return y;
  };
  const eager = await micros(CHAIN, () => chain(x).dispose(), settle);
  const plan = capture(device, { start: { shape: [64] } }, ({ start }) => ({ y: chain(start) }));
  const values = { start: new Float32Array(64) };
  const replayed = await micros(plan.steps.length, () => void plan.replay(values), settle);
  const t: Record<string, Tensor> = {};
  for (const [input, { data, shape }] of Object.entries(drawInputs(MLP)))
    t[input] = keep(tensor(device, data, [...shape]));
  const names = Object.keys(t).filter((input) => /^[wb]\d/.test(input));
  for (const input of names) requireGrad(t[input]!);
  const group = new ParameterGroup(names.map((input) => [input, t[input]!] as const));
  const optimizer = new AdamW(group);
  const step = await micros(
    1,
    () =>
      scope(() => {
        let y = t["x"]!;
        for (let i = 1; i <= 3; i++) {
          y = y.matmul(t[`w${i}`]!).add(t[`b${i}`]!);
          if (i < 3) y = y.relu();
        }
        optimizer.zeroGrad();
        backward(crossEntropy(y, t["classes"]!));
        optimizer.step();
      }),
    settle,
  );
  return { eager, replayed, step };
}

const peerHost: PeerHost = {
  load: (file) => import(pathToFileURL(join(folder, file)).href),
  bytes: async (file) => {
    const { buffer, byteOffset, byteLength } = readFileSync(join(folder, file));
    return (buffer as ArrayBuffer).slice(byteOffset, byteOffset + byteLength);
  },
  versions: {},
  device: async () => (await gpu.requestAdapter())!.requestDevice(),
  settle: async (queue) => void (await queue.onSubmittedWorkDone()),
  lastDevice: () => devices.at(-1)!,
};

interface Add {
  readonly ref: Add;
  add(other: Add): Add;
  dispose(): void;
  gpuBufferSync(): unknown;
}

async function mlpStep(engine: Engine): Promise<number> {
  const program = (await engine.prepare(MLP, drawInputs(MLP)))!;
  return micros(
    1,
    () => program.run(),
    () => engine.sync(),
  );
}

async function jax(): Promise<HostReport> {
  const engine = await startJax(peerHost);
  const lib = (await peerHost.load("jax.mjs")) as {
    jit(f: (x: Add, y: Add) => Add): (x: Add, y: Add) => Add;
    numpy: {
      array(data: Float32Array, options: { shape: number[] }): Add;
      matmul(a: Add, b: Add): Add;
    };
  };
  const x = lib.numpy.array(new Float32Array(64), { shape: [8, 8] });
  // Additions would fuse into one kernel; products do not.
  const chain = (length: number, from: Add, by: Add): Add => {
    let y = from;
    for (let i = 1; i < length; i++) y = lib.numpy.matmul(y, by.ref);
    return lib.numpy.matmul(y, by);
  };
  const eager = await micros(
    50,
    () => {
      let y = x.ref;
      for (let i = 0; i < 50; i++) {
        y = y.add(x.ref);
        y.ref.gpuBufferSync();
      }
      y.dispose();
    },
    () => engine.sync(),
  );
  const jitted = lib.jit((a, b) => chain(50, a, b));
  const replayed = await micros(
    50,
    () => jitted(x.ref, x.ref).gpuBufferSync(),
    () => engine.sync(),
  );
  return { eager, replayed, step: await mlpStep(engine) };
}

async function tfjs(): Promise<HostReport> {
  const engine = await startTfjs(peerHost);
  const tf = (await peerHost.load("tfjs.mjs")) as {
    tidy(f: () => void): void;
    tensor(data: Float32Array, shape: number[]): object;
    add(a: object, b: object): object;
  };
  const x = tf.tensor(new Float32Array(64), [64]);
  const chain = (): void => {
    let y = x;
    for (let i = 0; i < CHAIN; i++) y = tf.add(y, x);
  };
  const eager = await micros(
    CHAIN,
    () => tf.tidy(chain),
    () => engine.sync(),
  );
  return { eager, replayed: null, step: await mlpStep(engine) };
}

async function torch(): Promise<HostReport> {
  const { torch: lib } = (await peerHost.load("webgpu-torch.mjs")) as {
    torch: {
      initWebGPUAsync(): Promise<boolean>;
      Tensor: new (d: number[], t: string, w: string) => { add(x: object): object };
    };
  };
  await lib.initWebGPUAsync();
  const x = new lib.Tensor(new Array<number>(64).fill(0), "float32", "webgpu");
  const eager = await micros(
    CHAIN,
    () => {
      let y = x;
      for (let i = 0; i < CHAIN; i++) y = y.add(x) as typeof x;
    },
    () => peerHost.settle(peerHost.lastDevice().queue),
  );
  return { eager, replayed: null, step: null };
}

const ENGINES: Record<string, () => Promise<HostReport>> = { refl, "jax-js": jax, tfjs, "webgpu-torch": torch };
const log = console.log;
console.log = () => {};
const report = await ENGINES[name]!();
log(JSON.stringify(report));
process.exit(0);
