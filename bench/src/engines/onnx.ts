/** ONNX model files (onnx.proto3, IR version 8) written by hand: only what the rows' small graphs need. */

const encoder = new TextEncoder();

function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  do {
    const low = Number(rest & 127n);
    rest >>= 7n;
    bytes.push(rest ? low | 128 : low);
  } while (rest);
  return bytes;
}

/** A protobuf field of wire type 0. */
const int = (field: number, value: number): number[] => [...varint(field << 3), ...varint(value)];
/** A protobuf field of wire type 2. */
function block(field: number, body: Iterable<number>): number[] {
  const bytes = [...body];
  return [...varint((field << 3) | 2), ...varint(bytes.length), ...bytes];
}
const text = (field: number, value: string): number[] => block(field, encoder.encode(value));

export interface ElementType {
  readonly shape: readonly number[];
  readonly type: "float" | "int32" | "int64";
}

const TYPES = { float: 1, int32: 6, int64: 7 } as const;

export type Attribute = number | string | readonly number[] | { readonly float: number };

export interface OnnxNode {
  readonly op: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes?: Readonly<Record<string, Attribute>>;
  readonly domain?: string;
}

/** Small constants of a graph: int64 for shapes and axes, float for scalars. */
export interface Initializer {
  readonly type: "float" | "int64";
  readonly shape: readonly number[];
  readonly values: readonly number[];
}

export interface OnnxGraph {
  readonly nodes: readonly OnnxNode[];
  readonly inputs: Readonly<Record<string, ElementType>>;
  readonly outputs: Readonly<Record<string, ElementType>>;
  readonly initializers?: Readonly<Record<string, Initializer>>;
}

function attribute(name: string, value: Attribute): number[] {
  const head = text(1, name);
  if (typeof value === "string") return [...head, ...text(4, value), ...int(20, 3)];
  if (typeof value === "number") return [...head, ...int(3, value), ...int(20, 2)];
  if ("float" in value) {
    const bytes = new Uint8Array(new Float32Array([value.float]).buffer);
    return [...head, ...varint((2 << 3) | 5), ...bytes, ...int(20, 1)];
  }
  return [...head, ...value.flatMap((v) => int(8, v)), ...int(20, 7)];
}

function valueInfo(name: string, { shape, type }: ElementType): number[] {
  const dims = shape.flatMap((size) => block(1, int(1, size)));
  const tensor = [...int(1, TYPES[type]), ...block(2, dims)];
  return [...text(1, name), ...block(2, block(1, tensor))];
}

function initializer(name: string, { type, shape, values }: Initializer): number[] {
  const raw = type === "float" ? new Float32Array(values).buffer : new BigInt64Array(values.map(BigInt)).buffer;
  return [
    ...shape.flatMap((size) => int(1, size)),
    ...int(2, TYPES[type]),
    ...text(8, name),
    ...block(9, new Uint8Array(raw)),
  ];
}

function node({ op, inputs, outputs, attributes = {}, domain }: OnnxNode): number[] {
  return [
    ...inputs.flatMap((name) => text(1, name)),
    ...outputs.flatMap((name) => text(2, name)),
    ...text(4, op),
    ...Object.entries(attributes).flatMap(([name, value]) => block(5, attribute(name, value))),
    ...(domain ? text(7, domain) : []),
  ];
}

/** The bytes of a model of opset 20, which may also use ONNX Runtime's own operators (`com.microsoft`). */
export function encodeModel({ nodes, inputs, outputs, initializers = {} }: OnnxGraph): Uint8Array {
  const graph = [
    ...nodes.flatMap((n) => block(1, node(n))),
    ...text(2, "bench"),
    ...Object.entries(initializers).flatMap(([name, value]) => block(5, initializer(name, value))),
    ...Object.entries(inputs).flatMap(([name, type]) => block(11, valueInfo(name, type))),
    ...Object.entries(outputs).flatMap(([name, type]) => block(12, valueInfo(name, type))),
  ];
  const opset = (domain: string, version: number): number[] =>
    block(8, [...(domain ? text(1, domain) : []), ...int(2, version)]);
  return new Uint8Array([...int(1, 8), ...block(7, graph), ...opset("", 20), ...opset("com.microsoft", 1)]);
}
