/** ONNX files: read back by a protobuf reader of ten lines. */
import { expect, it } from "vitest";
import { encodeModel } from "../src/engines/onnx.ts";

/** Fields of a message: numbers of varints, bytes of blocks and of 32-bit values. */
function fields(bytes: Uint8Array): [field: number, value: number | Uint8Array][] {
  const found: [number, number | Uint8Array][] = [];
  let at = 0;
  const varint = (): number => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes[at++]!;
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return Number(BigInt.asIntN(64, value));
    }
  };
  while (at < bytes.length) {
    const tag = varint();
    if ((tag & 7) === 0) found.push([tag >> 3, varint()]);
    else {
      const length = (tag & 7) === 5 ? 4 : varint();
      found.push([tag >> 3, bytes.slice(at, (at += length))]);
    }
  }
  return found;
}

const all = (bytes: Uint8Array, field: number): (number | Uint8Array)[] =>
  fields(bytes)
    .filter(([f]) => f === field)
    .map(([, value]) => value);
const one = (bytes: Uint8Array, field: number): Uint8Array => all(bytes, field)[0] as Uint8Array;
const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

it("writes nodes, attributes, types and constants", () => {
  const model = encodeModel({
    nodes: [
      {
        op: "Softmax",
        inputs: ["x"],
        outputs: ["y"],
        attributes: { axis: -1, epsilon: { float: 0.5 }, pads: [1, 300] },
        domain: "com.microsoft",
      },
    ],
    inputs: { x: { shape: [2, 1000], type: "float" } },
    outputs: { y: { shape: [2, 1000], type: "float" } },
    initializers: { sizes: { type: "int64", shape: [2], values: [3, -4] } },
  });
  expect(all(model, 1)).toEqual([8]);
  expect(all(model, 8).map((opset) => all(opset as Uint8Array, 2)[0])).toEqual([20, 1]);
  const graph = one(model, 7);
  const node = one(graph, 1);
  expect([1, 2, 4, 7].map((field) => text(one(node, field)))).toEqual(["x", "y", "Softmax", "com.microsoft"]);
  const [axis, epsilon, pads] = all(node, 5) as [Uint8Array, Uint8Array, Uint8Array];
  expect(all(axis, 3)).toEqual([-1]);
  expect(new DataView(one(epsilon, 2).buffer).getFloat32(0, true)).toBe(0.5);
  expect(all(pads, 8)).toEqual([1, 300]);
  const type = one(one(one(graph, 11), 2), 1);
  expect(all(one(type, 2), 1).map((dim) => all(dim as Uint8Array, 1)[0])).toEqual([2, 1000]);
  const constant = one(graph, 5);
  expect(text(one(constant, 8))).toBe("sizes");
  expect([...new BigInt64Array(one(constant, 9).buffer)]).toEqual([3n, -4n]);
});
