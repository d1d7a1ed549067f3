/** Checkpoint files written by PyTorch, safetensors and huggingface_hub: every tensor's dtype, shape and values, and every refusal. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { bytesSource, type Checkpoint, openCheckpoint, type TensorEntry } from "@refl/models";
import { openFileSource } from "@refl/models/node";
import { bf16ToNumber, CheckpointError, f16ToNumber } from "@refl/tensor";
import { describe, expect, it } from "vitest";

const FOLDER = fileURLToPath(new URL("../golden/checkpoints/", import.meta.url));

type Expected = Record<
  string,
  { tensors?: Record<string, { dtype: string; shape: number[]; values: number[] }>; refused?: string }
>;
const expected = JSON.parse(readFileSync(`${FOLDER}expected.json`, "utf8")) as Expected;
const files = Object.entries(expected).filter(([file]) => !file.endsWith(".json"));

/** Every value of an entry as a number. */
function valuesOf({ dtype, bytes }: TensorEntry): number[] {
  const data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const each = (size: number, get: (at: number) => number | bigint): number[] =>
    Array.from({ length: bytes.length / size }, (_, i) => Number(get(i * size)));
  switch (dtype) {
    case "F64":
      return each(8, (at) => data.getFloat64(at, true));
    case "F32":
      return each(4, (at) => data.getFloat32(at, true));
    case "F16":
      return each(2, (at) => f16ToNumber(data.getUint16(at, true)));
    case "BF16":
      return each(2, (at) => bf16ToNumber(data.getUint16(at, true)));
    case "I64":
      return each(8, (at) => data.getBigInt64(at, true));
    case "U64":
      return each(8, (at) => data.getBigUint64(at, true));
    case "I32":
      return each(4, (at) => data.getInt32(at, true));
    case "U32":
      return each(4, (at) => data.getUint32(at, true));
    case "I16":
      return each(2, (at) => data.getInt16(at, true));
    case "U16":
      return each(2, (at) => data.getUint16(at, true));
    case "I8":
      return each(1, (at) => data.getInt8(at));
    default:
      return each(1, (at) => data.getUint8(at));
  }
}

async function contents(checkpoint: Checkpoint) {
  const found: Expected[string]["tensors"] = {};
  for await (const entry of checkpoint.entries()) {
    found[entry.name] = { dtype: entry.dtype, shape: [...entry.shape], values: valuesOf(entry) };
  }
  return found;
}

describe.each(files.filter(([, { tensors }]) => tensors))("%s", (file, { tensors }) => {
  it("reads as torch reads it, from disk", async () => {
    const checkpoint = await openCheckpoint(await openFileSource(FOLDER + file));
    try {
      expect(await contents(checkpoint)).toEqual(tensors);
    } finally {
      await checkpoint.close();
    }
  });

  it("widens halves by option", async () => {
    const source = bytesSource(new Uint8Array(readFileSync(FOLDER + file)), file);
    const wide = Object.entries(tensors!).map(([name, tensor]) => [
      name,
      { ...tensor, dtype: tensor.dtype.replace(/^B?F16$/, "F32") },
    ]);
    expect(await contents(await openCheckpoint(source, { halves: "widen", finite: true }))).toEqual(
      Object.fromEntries(wide),
    );
  });
});

it.each(files.filter(([, { refused }]) => refused))("refuses %s and says why", async (file, { refused }) => {
  const source = bytesSource(new Uint8Array(readFileSync(FOLDER + file)), file);
  const error: unknown = await openCheckpoint(source).catch((cause: unknown) => cause);
  expect(error).toBeInstanceOf(CheckpointError);
  expect(String(error)).toContain(refused);
  expect(String(error)).toContain(file);
});
