/** The adapter's measured peaks: multiply-adds in registers, and bytes moved by a copy, both by kernels of our own. */
import type { Clock } from "../clock.ts";
import { median } from "../stats.ts";

export interface Peak {
  /** 10⁹ floating-point operations a second. */
  readonly gflops: number;
  /** 10⁹ bytes a second, reads and writes added. */
  readonly gbytes: number;
}

/** How many vec4 chains a probe keeps: few fill the pipelines of a GPU, more than the registers hold spill on a CPU; the fastest counts. */
const CHAINS = [2, 3, 4, 8];
const STEPS = 2048;
const UNROLL = 8;
const LANES = 1 << 15;
/** 16 MiB in, 16 MiB out: beyond the caches of most machines. */
const COPY_VECS = 1 << 20;

/** Independent chains of vec4 multiply-adds, whose factors come from memory so that nothing folds. */
function chainsWgsl(count: number): string {
  const names = Array.from({ length: count }, (_, i) => `a${i}`);
  const step = names.map((name) => `    ${name} = fma(${name}, vec4f(m), vec4f(c));`).join("\n");
  return `
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
  let m = x[0].x;
  let c = x[1].x;
${names.map((name, i) => `  var ${name} = vec4f(f32(id.x) * 1e-9 + f32(${i}));`).join("\n")}
  for (var i = 0u; i < ${STEPS / UNROLL}u; i++) {
${new Array<string>(UNROLL).fill(step).join("\n")}
  }
  y[id.x] = ${names.join(" + ")};
}`;
}

const COPY_WGSL = `
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;
@compute @workgroup_size(64) fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let start = group.x * 256u + lane;
  for (var i = 0u; i < 4u; i++) { y[start + i * 64u] = x[start + i * 64u]; }
}`;

/** Runs the probes, the best of five batches each; the time is that of the driver's threads where the clock has it. */
export async function measurePeak(
  gpu: GPUDevice,
  clock: Clock,
  settle: (queue: GPUQueue) => Promise<void>,
): Promise<Peak> {
  const seconds = async (code: string, groups: number, bytes: number, repeats: number): Promise<number> => {
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST;
    const [x, y] = [0, 1].map(() => gpu.createBuffer({ size: bytes, usage })) as [GPUBuffer, GPUBuffer];
    gpu.queue.writeBuffer(x, 0, new Float32Array([0.5, 0.5, 0.5, 0.5, 1, 1, 1, 1]));
    const pipeline = await gpu.createComputePipelineAsync({
      layout: "auto",
      compute: { module: gpu.createShaderModule({ code }) },
    });
    const group = gpu.createBindGroup({
      layout: pipeline.getBindGroupLayout(0),
      entries: [x, y].map((buffer, binding) => ({ binding, resource: { buffer } })),
    });
    const times: number[] = [];
    for (let round = 0; round < 6; round++) {
      const cpu = (await clock.workers?.()) ?? 0;
      const wall = clock.wall();
      const encoder = gpu.createCommandEncoder();
      const pass = encoder.beginComputePass();
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, group);
      for (let i = 0; i < repeats; i++) pass.dispatchWorkgroups(groups);
      pass.end();
      gpu.queue.submit([encoder.finish()]);
      await settle(gpu.queue);
      const spent = clock.wall() - wall;
      const ms = clock.workers ? ((await clock.workers()) - cpu) / clock.threads : spent;
      // The first round compiles.
      if (round) times.push(ms / 1000 / repeats);
    }
    x.destroy();
    y.destroy();
    return Math.min(median(times), ...times);
  };
  // A GPU ends one dispatch of either probe in less than the clock can tell.
  const repeats = clock.workers ? 1 : 20;
  let gflops = 0;
  for (const chains of CHAINS) {
    const time = await seconds(chainsWgsl(chains), LANES / 64, LANES * 16, repeats);
    gflops = Math.max(gflops, (LANES * STEPS * chains * 4 * 2) / time / 1e9);
  }
  const copying = await seconds(COPY_WGSL, COPY_VECS / 256, COPY_VECS * 16, repeats * 4);
  return { gflops, gbytes: (COPY_VECS * 16 * 2) / copying / 1e9 };
}
