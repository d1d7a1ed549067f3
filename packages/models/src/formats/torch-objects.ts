/** What the pickles of `torch.save` may mention: tensors, storages, containers, and names that are kept as inert data. */
import { PickleGlobal, PickleObject, PickleRefusal, type PickleRules, PickleTuple } from "./pickle.ts";
import { dtypeSize, type SafetensorsDType } from "./safetensors.ts";
import { type StridedView, viewSpan } from "./strided.ts";

/** Tensors that repeat elements (stride 0, overlaps) beyond their storage may have this many bytes. */
const MAX_REPEATED_BYTES = 64 * 2 ** 20;
const MAX_DIMENSIONS = 64;

/** A storage as the pickle refers to it. */
export interface TorchStorage {
  /** Name of its data: of the entry `data/<key>` in a zip. */
  readonly key: string;
  /** `U8` for an untyped storage. */
  readonly dtype: SafetensorsDType;
  /** Bytes; a view of another storage in the oldest files begins at `byteOffset` of it. */
  readonly bytes: number;
  readonly byteOffset: number;
}

/** A tensor that lies in a storage; sizes, strides and offset in elements, checked against the storage's size. */
export class TorchTensor implements StridedView {
  readonly storage: TorchStorage;
  readonly dtype: SafetensorsDType;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
  readonly offset: number;

  constructor(
    storage: TorchStorage,
    dtype: SafetensorsDType,
    { shape, strides, offset }: Pick<StridedView, "shape" | "strides" | "offset">,
  ) {
    this.storage = storage;
    this.dtype = dtype;
    this.shape = shape;
    this.strides = strides;
    this.offset = offset;
  }

  get elementSize(): number {
    return dtypeSize(this.dtype);
  }
}

const STORAGES: Readonly<Record<string, SafetensorsDType>> = {
  DoubleStorage: "F64",
  FloatStorage: "F32",
  HalfStorage: "F16",
  BFloat16Storage: "BF16",
  LongStorage: "I64",
  IntStorage: "I32",
  ShortStorage: "I16",
  CharStorage: "I8",
  ByteStorage: "U8",
  BoolStorage: "BOOL",
  UntypedStorage: "U8",
  _UntypedStorage: "U8",
};

/** Element types that PyTorch names only when a tensor is rebuilt over an untyped storage. */
const DTYPES: Readonly<Record<string, SafetensorsDType>> = {
  float64: "F64",
  float32: "F32",
  float16: "F16",
  bfloat16: "BF16",
  int64: "I64",
  int32: "I32",
  int16: "I16",
  int8: "I8",
  uint64: "U64",
  uint32: "U32",
  uint16: "U16",
  uint8: "U8",
  bool: "BOOL",
};

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

function counts(value: unknown, what: string): readonly number[] {
  if (!(value instanceof PickleTuple) || value.items.length > MAX_DIMENSIONS || !value.items.every(isCount)) {
    throw new PickleRefusal(`has a tensor whose ${what} is no tuple of non-negative integers`);
  }
  return value.items;
}

function rebuild(args: readonly unknown[], dtype?: SafetensorsDType, metadata?: unknown): TorchTensor {
  const [storage, offset, size, stride] = args;
  if (!(storage instanceof StorageReference)) throw new PickleRefusal("has a tensor without a storage");
  if (!isCount(offset)) throw new PickleRefusal("has a tensor whose offset is no non-negative integer");
  const shape = counts(size, "shape");
  const strides = counts(stride, "stride");
  if (shape.length !== strides.length) throw new PickleRefusal("has a tensor with as many strides as it has no sizes");
  const tensor = new TorchTensor(storage.storage, dtype ?? storage.storage.dtype, { shape, strides, offset });
  const { elementSize } = tensor;
  const count = shape.reduce((product, length) => product * length, 1);
  const text = `has a tensor [${shape.join(", ")}] with strides [${strides.join(", ")}] at element ${offset}`;
  if (count > 0 && !((offset + viewSpan(tensor)) * elementSize <= storage.storage.bytes)) {
    throw new PickleRefusal(`${text}, which reaches beyond its storage of ${storage.storage.bytes} bytes`);
  }
  if (!Number.isSafeInteger(count * elementSize)) throw new PickleRefusal(`${text}, which is too large`);
  if (count * elementSize > Math.max(storage.storage.bytes, MAX_REPEATED_BYTES)) {
    throw new PickleRefusal(`${text}, which repeats its storage's ${storage.storage.bytes} bytes too often`);
  }
  if (metadata instanceof Map && (metadata.get("conj") || metadata.get("neg"))) {
    throw new PickleRefusal(`${text} that is marked as conjugate or negated`);
  }
  return tensor;
}

/** What a persistent id gives. */
export class StorageReference {
  readonly storage: TorchStorage;
  constructor(storage: TorchStorage) {
    this.storage = storage;
  }
}

function orderedDict(args: readonly unknown[]): Map<unknown, unknown> {
  const dict = new Map<unknown, unknown>();
  if (args.length === 0) return dict;
  const [items] = args;
  if (!Array.isArray(items)) throw new PickleRefusal("makes an OrderedDict of what is no list");
  for (const item of items) {
    const pair: unknown = item instanceof PickleTuple ? item.items : item;
    if (!Array.isArray(pair) || pair.length !== 2) throw new PickleRefusal("makes an OrderedDict of what are no pairs");
    dict.set(pair[0], pair[1]);
  }
  return dict;
}

function firstTensor([tensor]: readonly unknown[]): TorchTensor {
  if (!(tensor instanceof TorchTensor)) throw new PickleRefusal("has a parameter without a tensor");
  return tensor;
}

function rebuildFromType([rebuildTensor, , args]: readonly unknown[]): unknown {
  if (!(rebuildTensor instanceof PickleGlobal) || !rebuildTensor.call || !(args instanceof PickleTuple)) {
    throw new PickleRefusal("rebuilds a tensor by what is no function of tensors");
  }
  return rebuildTensor.call(args.items);
}

function typedDType(value: unknown): SafetensorsDType {
  const name = value instanceof PickleGlobal ? value.name.replace(/^torch\./, "") : "";
  const dtype = Object.hasOwn(DTYPES, name) ? DTYPES[name] : undefined;
  if (!dtype) {
    const known = Object.keys(DTYPES).join(", ");
    throw new PickleRefusal(`has a tensor of dtype ${name || "?"}, which cannot be read; known are ${known}`);
  }
  return dtype;
}

const CALLABLE: Readonly<Record<string, (args: readonly unknown[]) => unknown>> = {
  "collections.OrderedDict": orderedDict,
  "collections.defaultdict": () => new Map(),
  "torch._utils._rebuild_tensor": (args) => rebuild(args),
  "torch._utils._rebuild_tensor_v2": (args) => rebuild(args, undefined, args[6]),
  "torch._utils._rebuild_tensor_v3": (args) => rebuild(args, typedDType(args[6]), args[7]),
  "torch._utils._rebuild_parameter": firstTensor,
  "torch._utils._rebuild_parameter_with_state": firstTensor,
  "torch._tensor._rebuild_from_type_v2": rebuildFromType,
  "torch.Size": ([items]) => items ?? new PickleTuple([]),
  "torch.device": ([type]) => type ?? null,
  "_codecs.encode": ([text]) => text ?? null,
};

/** Calling these gives an object without behaviour. Lightning's checkpoints (Stable Diffusion's `.ckpt` among them) have such bookkeeping beside the weights. */
const INERT: ReadonlySet<string> = new Set([
  "numpy.core.multiarray.scalar",
  "numpy._core.multiarray.scalar",
  "numpy.core.multiarray._reconstruct",
  "numpy._core.multiarray._reconstruct",
  "numpy.dtype",
  "numpy.ndarray",
  "argparse.Namespace",
]);

/** These may be named, not called. */
const NAMED: ReadonlySet<string> = new Set([
  "torch.Tensor",
  "torch.nn.parameter.Parameter",
  "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
  "builtins.dict",
  "builtins.list",
  "__builtin__.dict",
  "__builtin__.list",
]);

const STORAGE_NAME = /^torch\.(?:cuda\.|storage\.)?(\w+Storage)$/;
const DTYPE_NAME = /^torch\.(?:(?:float|bfloat|complex|u?int|q?u?int)\w*|bool|half|double|long)$/;

/** The global of that name, or `undefined` when a checkpoint has no business with it. */
export function torchGlobal(name: string): PickleGlobal | undefined {
  if (Object.hasOwn(CALLABLE, name)) return new PickleGlobal(name, CALLABLE[name]);
  if (INERT.has(name)) return new PickleGlobal(name, () => new PickleObject(name));
  if (NAMED.has(name) || STORAGE_NAME.test(name) || DTYPE_NAME.test(name)) return new PickleGlobal(name);
  return undefined;
}

/** As {@link torchGlobal}, and the classes of a TorchScript archive as objects without behaviour. */
export function torchScriptGlobal(name: string): PickleGlobal | undefined {
  if (name.startsWith("__torch__.")) return new PickleGlobal(name, () => new PickleObject(name));
  if (/^torch\.jit\._pickle\.build_(int|double|bool|tensor)list$/.test(name)) {
    return new PickleGlobal(name, ([list]) => list ?? null);
  }
  // It tells a container's type beside the container.
  if (name === "torch.jit._pickle.restore_type_tag") return new PickleGlobal(name, ([value]) => value ?? null);
  return torchGlobal(name);
}

/**
 * The storage of a persistent id: `("storage", type, key, location, element count)`, in legacy files followed by `None` or by
 * `(view key, offset, element count)`.
 */
function storageOf(id: unknown): TorchStorage {
  const items = id instanceof PickleTuple ? id.items : [];
  const [kind, type, key, , count, viewOf] = items;
  if (kind !== "storage" || !(type instanceof PickleGlobal) || typeof key !== "string" || !isCount(count)) {
    throw new PickleRefusal("has a persistent id that is no storage");
  }
  const name = STORAGE_NAME.exec(type.name)?.[1] ?? "";
  const dtype = Object.hasOwn(STORAGES, name) ? STORAGES[name] : undefined;
  if (!dtype) {
    const known = Object.keys(STORAGES).filter((known) => !known.startsWith("_"));
    throw new PickleRefusal(`has a storage of type ${type.name}, which cannot be read; known are ${known.join(", ")}`);
  }
  const size = dtypeSize(dtype);
  const bytes = count * size;
  if (!Number.isSafeInteger(bytes)) throw new PickleRefusal(`has a storage of ${count} elements, which is too large`);
  if (!(viewOf instanceof PickleTuple)) return { key, dtype, bytes, byteOffset: 0 };
  const [, offset, viewCount] = viewOf.items;
  if (!isCount(offset) || !isCount(viewCount) || !(offset + viewCount <= count)) {
    throw new PickleRefusal("has a view beyond its storage");
  }
  return { key, dtype, bytes: viewCount * size, byteOffset: offset * size };
}

/** Rules for a pickle of `torch.save`. `storages` is told of each storage that the pickle refers to, with the bytes that its data must have. */
export function torchRules(
  storages: (key: string, dtype: SafetensorsDType, bytes: number) => void,
  global: PickleRules["global"] = torchGlobal,
): PickleRules {
  return {
    global,
    persistent(id) {
      const storage = storageOf(id);
      const whole = (id as PickleTuple).items[4] as number;
      storages(storage.key, storage.dtype, whole * dtypeSize(storage.dtype));
      return new StorageReference(storage);
    },
  };
}
