/** What plans tell of themselves: counts, arithmetic, times, traces, and the debug levels. */
import { beforeAll, describe, expect, it } from "vitest";
import {
  apply,
  CaptureError,
  capture,
  chromeTrace,
  conv2d,
  createDevice,
  type DebugLevel,
  type Device,
  formatExplanation,
  keep,
  type Outputs,
  type PlanExplanation,
  randn,
  type Shape,
  scaledDotProductAttention,
  type Tensor,
  tensor,
} from "../src/index.ts";
import { nodeHost } from "../src/node.ts";
import { PhiloxStream } from "../src/philox.ts";
import { testDevice } from "./device.ts";

const devices = new Map<"full" | "portable", Device>();
beforeAll(async () => {
  for (const tier of ["full", "portable"] as const) devices.set(tier, await testDevice(tier));
});

describe.each(["full", "portable"] as const)("arithmetic, %s", (tier) => {
  const explain = (shapes: readonly Shape[], fn: (...x: Tensor[]) => Outputs): PlanExplanation => {
    const device = devices.get(tier)!;
    const given = shapes.map((shape, i) => keep(randn(device, shape, new PhiloxStream(1, i))));
    using plan = capture(device, {}, () => fn(...given));
    for (const t of given) t.dispose();
    return plan.explain();
  };

  it("of a matrix product is 2 m n k for each of a batch", () => {
    const { flops } = explain(
      [
        [3, 16, 24],
        [3, 24, 8],
      ],
      (a, b) => ({ y: a!.matmul(b!) }),
    );
    expect(flops).toBe(2 * 3 * 16 * 24 * 8);
  });

  it("of a convolution is the same in all three directions", () => {
    const [x, w, g] = [
      [2, 4, 8, 8],
      [16, 4, 3, 3],
      [2, 16, 8, 8],
    ] as const;
    const same = { stride: [1, 1], padding: [1, 1] } as const;
    const count = 2 * (2 * 8 * 8) * 16 * (4 * 9);
    expect(explain([x, w], (a, b) => ({ y: conv2d(a!, b!, null, { padding: 1 }) })).flops).toBe(count);
    const input = explain([g, w], (a, b) => ({ y: apply("conv2dInputGrad", [a!, b!], { ...same, size: [8, 8] }) }));
    expect(input.flops).toBe(count);
    const weight = explain([g, x], (a, b) => ({ y: apply("conv2dWeightGrad", [a!, b!], { ...same, kernel: [3, 3] }) }));
    expect(weight.flops).toBe(count);
  });

  it("of a strided input gradient is that of the forward pass, but for windows that reach beyond the image", () => {
    const [w, g] = [
      [64, 64, 2, 2],
      [2, 64, 4, 4],
    ] as const;
    const attrs = { stride: [2, 2], padding: [0, 0], size: [8, 8] } as const;
    const { flops } = explain([g, w], (a, b) => ({ y: apply("conv2dInputGrad", [a!, b!], attrs) }));
    expect(flops).toBe(2 * (2 * 4 * 4) * 64 * (64 * 4));
  });

  it("of attention is that of its two products", () => {
    const shape = [2, 3, 10, 8];
    const { flops } = explain([shape, [2, 3, 20, 8], [2, 3, 20, 8]], (q, k, v) => ({
      y: scaledDotProductAttention(q!, k!, v!),
    }));
    expect(flops).toBe(2 * 2 * (2 * 3) * 10 * 20 * 8);
  });
});

describe("an explanation", () => {
  it("counts dispatches, pipelines, bytes and memory, and prints a table", () => {
    const device = devices.get("full")!;
    using plan = capture(
      device,
      { x: { shape: [64, 64] } },
      ({ x }) => ({ y: x.matmul(x).matmul(x).exp().add(x.exp()) }),
      { label: "a step" },
    );
    const explanation = plan.explain();
    expect(explanation).toMatchObject({ label: "a step", dispatches: 5, copies: 0, pipelines: 3, milliseconds: null });
    expect(explanation.flops).toBe(2 * 2 * 64 ** 3);
    const exp = explanation.kernels.find(({ name }) => name.endsWith("exp"))!;
    expect(exp).toMatchObject({ count: 2, flops: 0, bytes: 2 * 2 * 64 * 64 * 4 });
    const lines = formatExplanation(explanation).split("\n");
    expect(lines[0]).toMatch(/^a step: 5 dispatches of 3 pipelines, 0 copies, 0\.001 GFLOP, memory /);
    expect(lines[1]).toContain(device.adapter.software ? "(software adapter)" : "on ");
    expect(lines[2]).toMatch(/^kernel +count +MiB +GFLOP$/);
    expect(lines).toHaveLength(3 + explanation.kernels.length);
  });

  it("has the time of every kernel when the plan is profiled, and a trace", async ({ skip }) => {
    const device = devices.get("full")!;
    if (!device.capabilities.timestamps) skip("the adapter has no timestamps");
    using plan = capture(device, { x: { shape: [64, 64] } }, ({ x }) => ({ y: x.matmul(x).exp() }));
    using x = tensor(device, new Float32Array(4096), [64, 64]);
    const { explanation, events } = await plan.profile({ x });
    expect(events.map(({ name }) => name)).toEqual(
      plan.steps.map((step) => (step.kind === "dispatch" ? step.program.pipeline.label : "")),
    );
    expect(explanation.milliseconds).toBeCloseTo(
      events.reduce((sum, { milliseconds }) => sum + milliseconds, 0),
      9,
    );
    expect(formatExplanation(explanation)).toContain("ms in kernels");
    const trace = JSON.parse(chromeTrace(events, "a step")) as { traceEvents: { ph: string; ts?: number }[] };
    expect(trace.traceEvents.map(({ ph }) => ph)).toEqual(["M", "X", "X"]);
    expect(trace.traceEvents[2]!.ts).toBeGreaterThanOrEqual(trace.traceEvents[1]!.ts!);
  });
});

describe("debug level", () => {
  const told = async (debug: DebugLevel): Promise<{ lines: string[]; changed: () => void }> => {
    const lines: string[] = [];
    const device = await createDevice({ host: nodeHost(), debug, log: (line) => lines.push(line) });
    const now = { factor: 2 };
    const plan = capture(device, { x: { shape: [4] } }, ({ x }) => ({ y: x.mul(now.factor) }), { label: "a step" });
    plan.replay({ x: [1, 2, 3, 4] });
    const changed = () => {
      now.factor = 3;
      try {
        plan.replay({ x: [1, 2, 3, 4] });
      } finally {
        device.dispose();
      }
    };
    return { lines, changed };
  };

  it.each([
    [0, 0],
    [1, 1],
    [2, 1],
    [3, 2],
  ] as const)("%d tells %d things", async (level, count) => {
    const { lines, changed } = await told(level);
    expect(lines).toHaveLength(count);
    if (level === 1) expect(lines[0]).toMatch(/^a step: 1 dispatches/);
    if (level >= 2) expect(lines.at(-1)).toContain("\nkernel ");
    if (level >= 3) expect(lines[0]).toMatch(/^pipeline 0: elementwise_contiguous mul, [\d.]+ ms$/);
    changed();
  });

  it("4 refuses a replay that its function would no longer do", async () => {
    const { changed } = await told(4);
    expect(changed).toThrow(CaptureError);
  });
});
