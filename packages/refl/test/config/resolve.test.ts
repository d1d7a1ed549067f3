/** Configs: layers over layers, lines of mistakes, nearest names, flags, and presets. */
import { DataError } from "@refl/tensor";
import { describe, expect, it } from "vitest";
import {
  demoConfig,
  evaluateConfig,
  flagSource,
  parseAssignment,
  parseConfig,
  plainSource,
  rankConfig,
  resolveConfig,
  sampleConfig,
  sampleSource,
  scoreConfig,
  trainBaseConfig,
  trainReflConfig,
  trainRewardConfig,
} from "../../src/config/index.ts";

function refusal(run: () => unknown): DataError {
  try {
    run();
  } catch (error) {
    if (error instanceof DataError) return error;
    throw error;
  }
  throw new Error("nothing was refused");
}

const base = (text: string, ...sets: string[]) =>
  resolveConfig(trainBaseConfig, [parseConfig(text, "a.yaml"), ...sets.map((set) => flagSource(parseAssignment(set)))]);

describe("resolveConfig", () => {
  it("fills in every value and lays flags over the file over the preset", () => {
    const config = base("task: shapes16\nsteps: 50\nema:\n  decay: 0.9\n", "lr=2e-4", "steps=60");
    expect(config).toMatchObject({
      task: "shapes16",
      steps: 60,
      batchSize: 32,
      lr: 2e-4,
      seed: 0,
      ema: { decay: 0.9 },
    });
    expect(base("").batchSize).toBe(16);
    expect(Object.values(config)).not.toContain(undefined);
  });

  it("takes its own dump back unchanged", () => {
    for (const definition of [trainBaseConfig, trainRewardConfig, sampleConfig, evaluateConfig, demoConfig]) {
      const once = resolveConfig(definition as typeof demoConfig, []);
      const again = parseConfig(JSON.stringify(once, null, 2), "config.json");
      expect(resolveConfig(definition as typeof demoConfig, [again])).toEqual(once);
    }
    for (const definition of [trainReflConfig, scoreConfig, rankConfig]) {
      const required = definition === trainReflConfig ? { reward: "r" } : { model: "r" };
      const once = resolveConfig(definition as typeof scoreConfig, [plainSource(required, "test")]);
      expect(resolveConfig(definition as typeof scoreConfig, [plainSource(once, "test")])).toEqual(once);
    }
  });

  it("names an unknown key's file, line and nearest name, in YAML and JSON", () => {
    const yaml = refusal(() => base("task: emoji32\n\nbatch_size: 4\n"));
    expect(yaml).toMatchObject({ file: "a.yaml", line: 3, field: "batch_size", exitCode: 2 });
    expect(yaml.message).toBe('a.yaml:3: batch_size: unknown key; did you mean "batchSize"?');
    const json = refusal(() => base('{\n  "seed": 1,\n  "ema": {\n    "deacy": 0.9\n  }\n}'));
    expect(json.message).toBe('a.yaml:4: ema.deacy: unknown key; did you mean "decay"?');
  });

  it("suggests a nested name, and lists what is known when nothing is near", () => {
    const refl = (text: string) => refusal(() => resolveConfig(trainReflConfig, [parseConfig(text, "a.yaml")]));
    expect(refl("reward: r\nrank: 4\n").message).toMatch(/did you mean "lora\.rank"/);
    expect(refl("lora:\n  zebra: 4\n").message).toBe("a.yaml:2: lora.zebra: unknown key; known here: rank");
  });

  it("tells all unknown keys at once", () => {
    const error = refusal(() => base("stpes: 1\nlerning: 2\n", "sede=3"));
    expect(error.message).toMatch(/a\.yaml:1: stpes.*"steps".*a\.yaml:2: lerning.*--set sede=3: sede.*"seed"/);
  });

  it("names the place of an unfit value, the flag when the flag set it", () => {
    expect(refusal(() => base("seed: 1\nsteps: many\n")).message).toBe(
      'a.yaml:2: steps: expected number, found "many"',
    );
    expect(refusal(() => base("ema:\n  decay: 1\n"))).toMatchObject({ line: 2, field: "ema.decay" });
    expect(refusal(() => base("steps: 5\n", "steps=0.5")).message).toMatch(/^--set steps=0\.5: steps: /);
    expect(refusal(() => base("ema: 0.99\n")).message).toBe("a.yaml:1: ema: expected Object, found 0.99");
    expect(refusal(() => base("task: emoji64\n")).message).toMatch(/"emoji32" \| "shapes16"/);
    expect(refusal(() => resolveConfig(trainReflConfig, [])).message).toMatch(/reward: missing/);
  });

  it("refuses broken YAML, a key given twice, and a text that is no mapping, with the line", () => {
    expect(refusal(() => base("steps: 1\nlr: [1\n"))).toMatchObject({ file: "a.yaml" });
    expect(refusal(() => base("steps: 1\nseed: 2\nsteps: 3\n"))).toMatchObject({ line: 3 });
    expect(refusal(() => base("- 1\n")).message).toMatch(/name: value/);
    const bomb =
      "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c,*c]\n";
    expect(() => base(bomb)).toThrow(DataError);
  });

  it("does not let a file reach into object prototypes", () => {
    expect(() => base('{"__proto__": {"steps": 7}}')).toThrow(/unknown key/);
    expect(() => base("constructor: 1\n")).toThrow(/unknown key/);
    expect(() => base("", "__proto__.steps=7")).toThrow(/unknown key/);
    expect(({} as Record<string, unknown>)["steps"]).toBeUndefined();
  });

  it("switches an optional part on and off", () => {
    const refl = (...sets: string[]) =>
      resolveConfig(trainReflConfig, [
        plainSource({ reward: "r" }, "test"),
        ...sets.map((set) => flagSource(parseAssignment(set))),
      ]);
    expect(refl()).toMatchObject({
      lora: { rank: 8 },
      lr: 2e-3,
      earlyStop: { everySteps: 20, patience: 2 },
      control: true,
    });
    expect(refl("lora=null")).toMatchObject({ lora: null, lr: 2e-5 });
    expect(refl("lora.rank=4").lora).toEqual({ rank: 4 });
    expect(refl("earlyStop=null", "control=false")).toMatchObject({ earlyStop: null, control: false });
  });

  it("draws a picture again from its own parameters, with the user's values over them", () => {
    const told = { prompt: "a cat", steps: 7, sampler: "ddim", guidance: 2, seed: 9, model: "runs/x", width: 32 };
    const source = sampleSource({ ...told, version: 1, index: 3, height: 32, modelHash: "0" }, "a.png");
    const config = resolveConfig(sampleConfig, [source, plainSource({ seed: 10 }, "flags")]);
    expect(config).toMatchObject({
      prompts: ["a cat"],
      count: 1,
      samplerSteps: 7,
      seed: 10,
      index: 3,
      model: "runs/x",
    });
    const plain = sampleSource({ prompt: "a dog", seed: 1, model: "mix" }, "b.png");
    expect(resolveConfig(sampleConfig, [plain])).not.toHaveProperty("model");
    const foreign = sampleSource({ prompt: "a dog", sampler: "Euler a" }, "b.png");
    expect(() => resolveConfig(sampleConfig, [foreign])).toThrow(/b\.png: sampler: expected .*Euler a/);
  });

  it("reads quick as shapes16 unless another task is named", () => {
    const demo = (values: Record<string, unknown>) => resolveConfig(demoConfig, [plainSource(values, "test")]);
    expect(demo({})).toMatchObject({ task: "emoji32", samplerSteps: 10, refl: { steps: 80 } });
    expect(demo({ quick: true })).toMatchObject({ task: "shapes16", samplerSteps: 10, refl: { steps: 40 } });
    expect(demo({ quick: true, task: "emoji32" }).task).toBe("emoji32");
  });
});

describe("parseAssignment", () => {
  it("reads values as YAML", () => {
    expect(parseAssignment("a.b=1e-5")).toMatchObject({ path: ["a", "b"], value: 1e-5 });
    expect(parseAssignment("p=[x, y]").value).toEqual(["x", "y"]);
    expect(parseAssignment("p=a=b").value).toBe("a=b");
    expect(parseAssignment("p=").value).toBeNull();
  });

  it("refuses what is no assignment", () => {
    for (const text of ["", "a", "=1", "a..b=1", "a=[1"]) expect(() => parseAssignment(text)).toThrow(DataError);
  });
});
