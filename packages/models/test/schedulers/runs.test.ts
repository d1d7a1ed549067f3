/** Coefficients of runs of 1 to 1000 steps against diffusers (`reference/`): timesteps by hash, coefficients by weighted sums, one run of each scheduler in full. */
import { readFileSync } from "node:fs";
import { DDIMScheduler, DDPMScheduler, PNDMScheduler } from "@refl/models";
import { DataError } from "@refl/tensor";
import { describe, expect, it } from "vitest";

interface Run {
  name: string;
  class: "DDIMScheduler" | "DDPMScheduler" | "PNDMScheduler";
  config: object;
  eta?: number;
  timesteps: string[];
  sums: [number, number, number][];
  skipped: number[];
  whole: number[][];
}

const golden: { block: number; whole: number; most: number; runs: Run[] } = JSON.parse(
  readFileSync(new URL("../golden/scheduler_runs.json", import.meta.url), "utf8"),
);

const positionWeight = (index: number): number => 1 + (index % 7) / 8;

/** Which calls of a run the golden file looks at. */
const visited = (count: number): number[] =>
  Array.from({ length: count }, (_, i) => i).filter(
    (i) => count <= 24 || i < 3 || i >= count - 2 || i % Math.floor(count / 10) === 0,
  );

function fnv(hash: number, values: Int32Array): number {
  let h = hash;
  for (const byte of new Uint8Array(values.slice().buffer)) h = Math.imul(h ^ byte, 0x01000193);
  return h;
}

type Coefficients = (call: number, t: number) => [number, number, number];

/** Three numbers a call: sample, output and noise of a single step; of a multistep call, shares weighted by how far back they lie, and their plain sum. */
function reader({ name, config, eta }: Run): { setTimesteps(n: number): Int32Array; read: () => Coefficients } {
  const { class: kind } = golden.runs.find((run) => run.name === name)!;
  if (kind === "PNDMScheduler") {
    const scheduler = new PNDMScheduler(config);
    return {
      setTimesteps: (n) => scheduler.setTimesteps(n),
      read: () => {
        const calls = scheduler.calls();
        return (call) => {
          const { base, outputs, sample, output } = calls[call]!;
          const places = outputs.reduce((sum, of) => sum + of.weight * positionWeight(call - of.call), 0);
          const weights = outputs.reduce((sum, of) => sum + of.weight, 0);
          return [sample * positionWeight(call - base), output * places, output * weights];
        };
      },
    };
  }
  const scheduler =
    kind === "DDIMScheduler"
      ? new DDIMScheduler({ ...config, clip_sample: false })
      : new DDPMScheduler({ ...config, clip_sample: false });
  return {
    setTimesteps: (n) => scheduler.setTimesteps(n),
    read: () => (_, t) => {
      const { prev } =
        scheduler instanceof DDIMScheduler
          ? scheduler.stepCoefficients(t, { eta: eta ?? 0 })
          : scheduler.stepCoefficients(t);
      return [prev.sample, prev.output, prev.noise];
    },
  };
}

function expectClose(found: readonly number[], expected: readonly number[], scale: number, what: string): void {
  for (const [i, value] of found.entries()) {
    expect(Math.abs(value - expected[i]!) / scale, `${what} [${i}]: ${value} for ${expected[i]}`).toBeLessThan(1e-12);
  }
}

describe.each(golden.runs)("$name", (run) => {
  it("has diffusers' timesteps and coefficients for every number of steps", () => {
    const { setTimesteps, read } = reader(run);
    const multistep = run.class === "PNDMScheduler";
    for (const [block, expected] of run.timesteps.entries()) {
      let hash = 0x811c9dc5;
      const sums = [0, 0, 0];
      for (let n = block * golden.block + 1; n <= (block + 1) * golden.block; n++) {
        if (run.skipped.includes(n)) continue;
        const timesteps = setTimesteps(n);
        hash = fnv(hash, timesteps);
        if (multistep && n > 40 && n % 37 !== 0 && n < golden.most - 1) continue;
        const coefficients = read();
        for (const call of visited(timesteps.length)) {
          const values = coefficients(call, timesteps[call]!);
          for (const i of [0, 1, 2]) sums[i]! += positionWeight(call) * values[i]!;
          if (n === golden.whole) {
            const place = visited(timesteps.length).indexOf(call);
            expectClose(values, run.whole[place]!, 1, `${n} steps, call ${call}`);
          }
        }
      }
      expect((hash >>> 0).toString(16).padStart(8, "0"), `timesteps of block ${block}`).toBe(expected);
      const scale = Math.max(1, ...run.sums[block]!.map(Math.abs));
      expectClose(sums, run.sums[block]!, scale, `block ${block}`);
    }
  });
});

describe("the published sampler", () => {
  const sd = { beta_start: 0.00085, beta_end: 0.012, beta_schedule: "scaled_linear" };

  it("has the published cumulative alphas and posterior", () => {
    const ddpm = new DDPMScheduler({ ...sd, clip_sample: true });
    const alphas = [0, 1, 25, 100, 200, 225, 500, 750, 975, 999].map((t) => ddpm.alphaBar(t));
    const published = [
      0.999149978, 0.998296022, 0.976606309, 0.894223154, 0.753691733, 0.714324296, 0.276332468, 0.0561698042,
      0.00619586324, 0.00466009509,
    ];
    for (const [i, alpha] of alphas.entries()) expect(Math.abs(alpha / published[i]! - 1)).toBeLessThan(1e-8);
    expect([...ddpm.setTimesteps(40)].slice(0, 2)).toEqual([975, 950]);
    const rows: [number, number, number, number][] = [
      [975, 0.0227282, 0.8649734, 0.4982062],
      [225, 0.1587329, 0.8393759, 0.2122142],
      [25, 0.9640749, 0.0359232, 0.0286327],
      [0, 1, 0, 0],
    ];
    for (const [t, original, sample, noise] of rows) {
      const { prev } = ddpm.stepCoefficients(t);
      expect(prev.original).toBeCloseTo(original, 6);
      expect(prev.sample).toBeCloseTo(sample, 6);
      expect(prev.noise).toBeCloseTo(noise, 6);
    }
  });

  it("takes PLMS's calls", () => {
    const pndm = new PNDMScheduler({ ...sd, steps_offset: 1, skip_prk_steps: true });
    expect(() => pndm.calls()).toThrow(DataError);
    const timesteps = [...pndm.setTimesteps(50)];
    expect([...timesteps.slice(0, 4), ...timesteps.slice(-2)]).toEqual([981, 961, 961, 941, 21, 1]);
    const calls = pndm.calls();
    expect(calls.map((call) => call.timestep)).toEqual(timesteps);
    expect(calls[1]).toMatchObject({ base: 0, prevTimestep: 961, outputs: [{ call: 0, weight: 0.5 }, { call: 1 }] });
    expect(calls[6]?.outputs.map((share) => share.weight * 24)).toEqual(
      [-9, 37, -59, 55].map((w) => expect.closeTo(w, 12)),
    );
    expect(calls.at(-1)?.prevTimestep).toBe(-19);
    expect([...pndm.setTimesteps(1)]).toEqual([1]);
  });

  it("refuses what PNDM cannot do", () => {
    expect(() => new PNDMScheduler({ ...sd, prediction_type: "sample" })).toThrow(/prediction_type/);
    expect(() => new PNDMScheduler({ ...sd, rescale_betas_zero_snr: true })).toThrow(/not supported/);
    expect(() => new PNDMScheduler(sd).setTimesteps(3)).toThrow(/take at least 4/);
    const pndm = new PNDMScheduler({ ...sd, skip_prk_steps: true, clip_sample: false });
    expect(new PNDMScheduler(pndm.toConfig()).config).toEqual(pndm.config);
    expect(new DDPMScheduler(pndm.toConfig()).config.clip_sample).toBe(false);
    expect(pndm.toConfig()["_class_name"]).toBe("PNDMScheduler");
  });

  it("tells that zero SNR leaves ε nothing to say", () => {
    const ddim = new DDIMScheduler({ ...sd, rescale_betas_zero_snr: true, timestep_spacing: "trailing" });
    expect(ddim.alphaBar(999)).toBe(0);
    expect(() => ddim.stepCoefficients(999)).toThrow(/needs v_prediction or sample/);
  });
});
