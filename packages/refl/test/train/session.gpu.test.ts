/** The training session by itself: states that go out and come back bit for bit, states that do not fit, and gradients that are no numbers. */
import { backward, Parameter } from "@refl/autograd";
import {
  bytesSource,
  memoryFolder,
  openSafetensors,
  readTensors,
  type TensorEntry,
  writeSafetensors,
} from "@refl/models";
import { CheckpointError, type Device, DivergedError, randn, Tensor, tensor } from "@refl/tensor";
import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { testDevice } from "../../../tensor/test/device.ts";
import { STATE_FILE, TrainingSession, type TrainingStep } from "../../src/train/session.ts";
import { pictureStreams, pictureWords } from "../../src/train/streams.ts";
import { firstDifference, stateFolder, stateOf } from "./tiny.ts";

let device: Device;
beforeAll(async () => {
  device = await testDevice();
});

const SHAPES = { weight: [3, 5], bias: [5], scale: [] } as const;
type Name = keyof typeof SHAPES;

/** A linear layer with a scale, fitted to y = 1 on inputs that are a function of the step. */
class Fit {
  readonly parameters: Record<Name, Parameter>;
  readonly session: TrainingSession;
  readonly #fit: TrainingStep<{ readonly words: Tensor; readonly poison: Tensor }, null>;

  constructor(seed: number, emaDecay: number | null = 0.99, eagerCalls = 0) {
    const names = Object.keys(SHAPES) as Name[];
    const made = names.map((name, i) => {
      const value = randn(device, SHAPES[name], pictureStreams(seed, "weights", i, 1)[0]!);
      return [name, new Parameter(value, name)] as const;
    });
    this.parameters = Object.fromEntries(made) as Record<Name, Parameter>;
    this.session = new TrainingSession(device, made, { weightDecay: 0.01, gradientClip: 1, emaDecay });
    this.#fit = this.session.prepare("fit", this.#losses, { eagerCalls });
  }

  /** One step; `poison` is added to the inputs' first number. */
  advance(poison = 0): Promise<Record<string, number>> {
    const data = {
      words: pictureWords(1, "inputs", this.session.step, 1),
      poison: { values: Array.from({ length: 12 }, (_, i) => (i === 0 ? poison : 0)), shape: [4, 3] },
    };
    return this.#fit.advance(0.1, data, null);
  }

  readonly #losses = ({ words, poison }: { readonly words: Tensor; readonly poison: Tensor }) => {
    const { weight, bias, scale } = this.parameters;
    const x = randn(device, [4, 3], words).add(poison);
    const loss = x.matmul(weight).add(bias).mul(scale).sub(1).square().mean();
    backward(loss);
    return { loss, twice: loss.mul(2) };
  };

  async numbers(): Promise<number[]> {
    const { group, optimizer, average } = this.session;
    const slabs: Tensor[] = [...group.slabs.map(({ values }) => values), ...(average?.averages ?? [])];
    const { first, second } = optimizer.moments;
    const lists = await readTensors([...slabs, ...first, ...second]);
    return [...lists.flatMap((list) => [...list]), this.session.step, optimizer.steps];
  }

  dispose(): void {
    this.session.dispose();
    for (const parameter of Object.values(this.parameters)) parameter.dispose();
  }
}

let fit: Fit;
let inUse: number;
beforeEach(() => {
  inUse = device.memory().inUse;
  fit = new Fit(1);
});
afterEach(() => {
  fit.dispose();
  expect(device.memory().inUse).toBe(inUse);
});

describe("a saved state", () => {
  it("brings weights, moments, average, step count and notes back, and the next steps are the same bits", async () => {
    for (let i = 0; i < 3; i++) await fit.advance();
    const saved = await stateOf((folder) => fit.session.save(folder, { looks: "three" }));
    const there = await fit.numbers();
    const next = [await fit.advance(), await fit.advance()];
    const later = await fit.numbers();
    const other = new Fit(2);
    await other.advance();
    const notes = await other.session.load(stateFolder(saved));
    expect(notes.get("looks")).toBe("three");
    expect(firstDifference(await other.numbers(), there)).toBe(-1);
    expect([await other.advance(), await other.advance()]).toEqual(next);
    expect(firstDifference(await other.numbers(), later)).toBe(-1);
    other.dispose();
  });

  it("carries a snapshot along", async () => {
    const kept = fit.session.snapshot();
    const weight = SHAPES.weight[0] * SHAPES.weight[1];
    const read = async () => (await readTensors(kept))[0]!.slice(0, weight);
    const start = await read();
    await fit.advance();
    const saved = await stateOf((folder) => fit.session.save(folder, {}, kept));
    for (const t of kept) t.fill_(7);
    await fit.session.load(stateFolder(saved), kept);
    expect(firstDifference(await read(), start)).toBe(-1);
    await expect(fit.session.load(stateFolder(saved))).rejects.toThrow(CheckpointError);
    for (const t of kept) t.dispose();
  });

  it("goes out 8 MiB at a time and comes back tensor by tensor", async () => {
    const shape = [250, 1000];
    const parameters = Array.from({ length: 20 }, (_, i) => {
      const name = `layer${i}`;
      return [name, new Parameter(Tensor.empty(device, shape).fill_(i / 3), name)] as const;
    });
    const large = new TrainingSession(device, parameters, { weightDecay: 0, gradientClip: 1, emaDecay: 0.9 });
    const before = device.memory().inUse;
    const files = new Map<string, Uint8Array>();
    const folder = memoryFolder(files);
    let [pieces, largestPiece, largestRead, onDevice] = [0, 0, 0, 0];
    const watched = async function* (data: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
      for await (const piece of data) {
        pieces++;
        largestPiece = Math.max(largestPiece, piece.byteLength);
        onDevice = Math.max(onDevice, device.memory().inUse - before);
        yield piece;
      }
    };
    await large.save({
      ...folder,
      write: (path, data) => folder.write(path, watched(data as AsyncIterable<Uint8Array>)),
    });
    // Weights, both moments and the average: 20 MB each.
    expect(files.get(STATE_FILE)!.byteLength).toBeGreaterThan(80e6);
    expect(pieces).toBe(1 + Math.ceil(80e6 / 2 ** 23));
    expect(largestPiece).toBe(2 ** 23);
    expect(onDevice).toBeLessThanOrEqual(2 ** 23);
    for (const [, parameter] of parameters) parameter.fill_(7);
    await large.load({
      ...folder,
      async open(path) {
        const source = await folder.open(path);
        const read: typeof source.read = (offset, length, into) => {
          largestRead = Math.max(largestRead, length);
          return source.read(offset, length, into);
        };
        return { ...source, read };
      },
    });
    expect(largestRead).toBe(1e6);
    for (const [i, [, parameter]] of parameters.entries()) {
      const values = await parameter.data();
      expect(values.every((x) => x === Math.fround(i / 3))).toBe(true);
    }
    large.dispose();
    for (const [, parameter] of parameters) parameter.dispose();
  });

  it("changes nothing when it does not fit", async () => {
    await fit.advance();
    const there = await fit.numbers();
    const saved = await stateOf((folder) => fit.session.save(folder));
    const file = await openSafetensors(bytesSource(saved, "state"));
    const entries: TensorEntry[] = [];
    for await (const entry of file.entries()) entries.push(entry);
    const notes = Object.fromEntries(file.metadata);
    const rest = entries.slice(1);
    const [first] = entries as [TensorEntry];
    const refused = async (list: TensorEntry[], metadata = notes) => {
      const error = await fit.session
        .load(stateFolder(writeSafetensors(list, metadata), "bad"))
        .catch((e: unknown) => e);
      expect(error).toBeInstanceOf(CheckpointError);
      expect((error as CheckpointError).file).toBe(`bad/${STATE_FILE}`);
      expect(firstDifference(await fit.numbers(), there)).toBe(-1);
      return error as CheckpointError;
    };
    expect((await refused(rest)).missing).toEqual([first.name]);
    expect((await refused([...entries, { ...first, name: "more" }])).unexpected).toEqual(["more"]);
    const turned = { ...first, shape: [...first.shape, 1] };
    expect((await refused([turned, ...rest])).misshapen).toEqual([
      { key: first.name, expected: first.shape, found: turned.shape },
    ]);
    const { step: _step, ...stepless } = notes;
    await refused(entries, stepless as typeof notes);
    await refused(entries, { ...notes, step: "soon" });
    await refused(entries, { ...notes, step: "-1" });
    const half = { ...first, dtype: "F16", bytes: first.bytes.slice(0, first.bytes.length / 2) } as const;
    await refused([half, ...rest]);
    const cut = stateFolder(saved.slice(0, saved.length - 4));
    await expect(fit.session.load(cut)).rejects.toThrow(CheckpointError);
    expect(firstDifference(await fit.numbers(), there)).toBe(-1);
  });
});

describe("a step", () => {
  it("reports learning rate, gradient norm and losses, and starts from clean gradients", async () => {
    const metrics = await fit.advance();
    expect(Object.keys(metrics)).toEqual(["lr", "gradNorm", "loss", "twice"]);
    expect(metrics["lr"]).toBe(0.1);
    expect(metrics["twice"]).toBe(2 * metrics["loss"]!);
    const gradients = await readTensors(fit.session.group.slabs.map((slab) => slab.gradients));
    const norm = Math.sqrt(gradients.flatMap((list) => [...list]).reduce((sum, x) => sum + x * x, 0));
    expect(metrics["gradNorm"]).toBeCloseTo(norm, 5);
  });

  it.each([Number.NaN, Number.POSITIVE_INFINITY])("that meets %d changes nothing and says where", async (poison) => {
    await fit.advance();
    const there = await fit.numbers();
    const error = await fit.advance(poison).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(DivergedError);
    expect(error).toMatchObject({ tensor: "the gradient of weight", step: 2, exitCode: 4 });
    expect(firstDifference(await fit.numbers(), there)).toBe(-1);
    // What follows is what would have followed.
    const after = await fit.advance();
    const straight = new Fit(1);
    await straight.advance();
    expect(await straight.advance()).toEqual(after);
    expect(firstDifference(await straight.numbers(), await fit.numbers())).toBe(-1);
    straight.dispose();
  });

  it("names a weight that is no number rather than the gradients that follow from it", async () => {
    fit.parameters.bias.write_([1, Number.NaN, 1, 1, 1]);
    await expect(fit.advance()).rejects.toMatchObject({ tensor: "the weight bias", step: 1 });
  });

  it("names one bad gradient among good ones", async () => {
    const { scale, bias } = fit.parameters;
    const bad = fit.session
      .prepare("bad", () => {
        backward(scale.mul(Number.NaN).add(bias.sum()));
        return {};
      });
    const step = bad.advance(0.1, {}, null);
    await expect(step).rejects.toMatchObject({ tensor: "the gradient of scale" });
  });

  it("names the norm when only that overflows", async () => {
    const big = tensor(device, [3e30], []);
    const overflowing = fit.session
      .prepare("overflowing", () => {
        backward(fit.parameters.bias.mul(big).sum());
        return {};
      });
    const step = overflowing.advance(0.1, {}, null);
    await expect(step).rejects.toMatchObject({ tensor: "the gradient's global norm" });
    big.dispose();
  });
});

describe("a captured step", () => {
  it("leaves the bits that the same code leaves op by op", async () => {
    const eager = new Fit(1, 0.99, 100);
    for (let i = 0; i < 10; i++) {
      const poison = i === 4 ? Number.NaN : 0;
      const [here, there] = await Promise.all([fit, eager].map((f) => f.advance(poison).catch(String)));
      expect(here).toEqual(there);
      expect(firstDifference(await fit.numbers(), await eager.numbers())).toBe(-1);
    }
    eager.dispose();
  });
});

describe("the moving average", () => {
  it("stands in the weights' place while something is done with it, also when that fails", async () => {
    for (let i = 0; i < 4; i++) await fit.advance();
    const read = async () => (await readTensors([fit.session.group.slabs[0]!.values]))[0]!;
    const weights = await read();
    const [average] = await readTensors(fit.session.average!.averages);
    expect(firstDifference(weights, average!)).not.toBe(-1);
    expect(firstDifference(await fit.session.withAverage(read), average!)).toBe(-1);
    expect(firstDifference(await read(), weights)).toBe(-1);
    const failing = fit.session.withAverage(() => Promise.reject(new Error("full")));
    await expect(failing).rejects.toThrow("full");
    expect(firstDifference(await read(), weights)).toBe(-1);
    const copy = fit.session.averageSnapshot();
    fit.session.restoreSnapshot(copy);
    expect(firstDifference(await read(), average!)).toBe(-1);
    for (const t of copy) t.dispose();
  });

  it("can be left out", async () => {
    const plain = new Fit(1, null);
    await plain.advance();
    const saved = await stateOf((folder) => plain.session.save(folder));
    const { tensors } = await openSafetensors(bytesSource(saved, "state"));
    expect([...tensors.keys()].filter((key) => key.startsWith("average."))).toEqual([]);
    expect(await plain.session.withAverage(async () => "done")).toBe("done");
    await expect(fit.session.load(stateFolder(saved))).rejects.toThrow(CheckpointError);
    plain.dispose();
  });
});
