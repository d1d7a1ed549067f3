/** The doctor on this machine's adapter, and on a host that has none. */
import { NoAdapterError } from "@refl/tensor";
import { nodeHost } from "@refl/tensor/node";
import { expect, it } from "vitest";
import { type DoctorReport, doctor } from "../src/doctor.ts";
import type { RunEvent } from "../src/events.ts";

it("tells the adapter, its limits, and a matmul that is right", async () => {
  const run = doctor(nodeHost());
  const events: RunEvent[] = [];
  let report: DoctorReport;
  for (;;) {
    const next = await run.next();
    if (next.done) {
      report = next.value;
      break;
    }
    events.push(next.value);
  }
  expect(report.checks.find(({ name }) => name === "matmul")?.ok).toBe(true);
  expect(report.matmul.gflops).toBeGreaterThan(0.01);
  expect(report.limits["maxBufferSize"]).toBeGreaterThan(2 ** 20);
  expect(JSON.parse(JSON.stringify(report))).toEqual(report);
  expect(events.filter(({ type }) => type === "table")).toHaveLength(3);
  expect(events.at(-1)).toEqual({ type: "result", summary: report });
});

it("fails with NoAdapterError where there is no adapter", async () => {
  const gpu = { ...nodeHost().gpu, requestAdapter: async () => null } as unknown as GPU;
  const run = doctor({ name: "node", gpu });
  await run.next();
  await expect(run.next()).rejects.toThrow(NoAdapterError);
});
