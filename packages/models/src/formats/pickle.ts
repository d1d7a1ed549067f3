/** A pickle reader that runs nothing: a stack machine over the data opcodes of protocols 2 to 5, whose globals come from the caller's list or are refused. */
import { CheckpointError } from "@refl/tensor";

/** More than any checkpoint's pickle needs; what a hostile one may cost stays below a few hundred megabytes. */
const MAX_OPCODES = 4_000_000;
const MAX_CONTAINERS = 1_000_000;
const MAX_INTEGER_BYTES = 64;

/** A Python tuple. Lists are arrays, dicts are Maps, sets are Sets. */
export class PickleTuple {
  readonly items: readonly unknown[];
  constructor(items: readonly unknown[]) {
    this.items = items;
  }
}

/** A name that a pickle may mention. `call` says what calling it gives; without it, it cannot be called. */
export class PickleGlobal {
  readonly name: string;
  readonly call: ((args: readonly unknown[]) => unknown) | undefined;
  constructor(name: string, call?: (args: readonly unknown[]) => unknown) {
    this.name = name;
    this.call = call;
  }
}

/** An object whose class is known by name only: its state is data, nothing of it is run. */
export class PickleObject {
  readonly className: string;
  state: unknown = null;
  constructor(className: string) {
    this.className = className;
  }
}

export interface PickleRules {
  /** The global of this name (`module.attribute`), or `undefined` to refuse the file. */
  readonly global: (name: string) => PickleGlobal | undefined;
  /** The object that a persistent id stands for. May throw {@link PickleRefusal}. */
  readonly persistent: (id: unknown) => unknown;
}

/** Why a value is refused; the reader adds file and byte offset. For `PickleRules` and the callables of globals. */
export class PickleRefusal extends Error {}

/** The bytes ended before the pickle did. */
export class PickleTruncated extends Error {}

/** A value and the offset behind its STOP. */
export interface Unpickled {
  readonly value: unknown;
  readonly end: number;
}

const MARK = Symbol("mark");

/**
 * Reads one pickle from `start` on. Memory is at most proportional to the bytes read.
 * @param file what error messages say
 * @throws CheckpointError with the byte offset for opcodes that are not data, globals that `rules` does not know and malformed streams;
 *   PickleTruncated when `bytes` ends first.
 */
export function unpickle(bytes: Uint8Array, file: string, rules: PickleRules, start = 0): Unpickled {
  return new Machine(bytes, file, rules, start).run();
}

class Machine {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #file: string;
  readonly #rules: PickleRules;
  readonly #memo = new Map<number, unknown>();
  readonly #globals = new Map<string, PickleGlobal>();
  readonly #text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  #stack: unknown[] = [];
  #at: number;
  #opcodeAt: number;
  #containers = 0;

  constructor(bytes: Uint8Array, file: string, rules: PickleRules, start: number) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#file = file;
    this.#rules = rules;
    this.#at = start;
    this.#opcodeAt = start;
  }

  run(): Unpickled {
    for (let count = 0; count < MAX_OPCODES; count++) {
      this.#opcodeAt = this.#at;
      const opcode = this.#byte();
      if (opcode === 0x2e) return { value: this.#pop(), end: this.#at };
      try {
        this.#step(opcode);
      } catch (error) {
        if (error instanceof PickleRefusal) this.#fail(error.message);
        throw error;
      }
    }
    return this.#fail(`has more than ${MAX_OPCODES} opcodes`);
  }

  #step(opcode: number): void {
    switch (opcode) {
      case 0x80: // PROTO
        if (this.#byte() > 5) this.#fail("is of a protocol beyond 5");
        return;
      case 0x95: // FRAME
        this.#length64();
        return;
      case 0x28: // MARK
        this.#push(MARK);
        return;
      case 0x30: // POP
        this.#popAny();
        return;
      case 0x31: // POP_MARK
        this.#popToMark();
        return;
      case 0x32: // DUP
        this.#push(this.#top());
        return;
      case 0x4e: // NONE
        this.#push(null);
        return;
      case 0x88: // NEWTRUE
        this.#push(true);
        return;
      case 0x89: // NEWFALSE
        this.#push(false);
        return;
      case 0x4b: // BININT1
        this.#push(this.#byte());
        return;
      case 0x4d: // BININT2
        this.#push(this.#view.getUint16(this.#skip(2), true));
        return;
      case 0x4a: // BININT
        this.#push(this.#view.getInt32(this.#skip(4), true));
        return;
      case 0x8a: // LONG1
        this.#push(this.#integer(this.#byte()));
        return;
      case 0x8b: // LONG4
        this.#push(this.#integer(this.#length32()));
        return;
      case 0x47: // BINFLOAT
        this.#push(this.#view.getFloat64(this.#skip(8), false));
        return;
      case 0x58: // BINUNICODE
        this.#push(this.#string(this.#length32()));
        return;
      case 0x8c: // SHORT_BINUNICODE
      case 0x55: // SHORT_BINSTRING
        this.#push(this.#string(this.#byte()));
        return;
      case 0x8d: // BINUNICODE8
        this.#push(this.#string(this.#length64()));
        return;
      case 0x54: // BINSTRING
        this.#push(this.#string(this.#length32()));
        return;
      case 0x43: // SHORT_BINBYTES
        this.#push(this.#slice(this.#byte()));
        return;
      case 0x42: // BINBYTES
        this.#push(this.#slice(this.#length32()));
        return;
      case 0x8e: // BINBYTES8
      case 0x96: // BYTEARRAY8
        this.#push(this.#slice(this.#length64()));
        return;
      case 0x63: // GLOBAL
        this.#push(this.#global(`${this.#line()}.${this.#line()}`));
        return;
      case 0x93: // STACK_GLOBAL
        this.#stackGlobal();
        return;
      case 0x51: // BINPERSID
        this.#push(this.#rules.persistent(this.#pop()));
        return;
      case 0x71: // BINPUT
        this.#memo.set(this.#byte(), this.#top());
        return;
      case 0x72: // LONG_BINPUT
        this.#memo.set(this.#length32(), this.#top());
        return;
      case 0x94: // MEMOIZE
        this.#memo.set(this.#memo.size, this.#top());
        return;
      case 0x68: // BINGET
        this.#push(this.#recall(this.#byte()));
        return;
      case 0x6a: // LONG_BINGET
        this.#push(this.#recall(this.#length32()));
        return;
      default:
        this.#containerStep(opcode);
    }
  }

  #containerStep(opcode: number): void {
    switch (opcode) {
      case 0x5d: // EMPTY_LIST
        this.#pushNew([]);
        return;
      case 0x7d: // EMPTY_DICT
        this.#pushNew(new Map());
        return;
      case 0x8f: // EMPTY_SET
        this.#pushNew(new Set());
        return;
      case 0x29: // EMPTY_TUPLE
        this.#pushNew(new PickleTuple([]));
        return;
      case 0x85: // TUPLE1
        this.#pushNew(new PickleTuple([this.#pop()]));
        return;
      case 0x86: // TUPLE2
        this.#pushNew(new PickleTuple(this.#popSome(2)));
        return;
      case 0x87: // TUPLE3
        this.#pushNew(new PickleTuple(this.#popSome(3)));
        return;
      case 0x74: // TUPLE
        this.#pushNew(new PickleTuple(this.#popToMark()));
        return;
      case 0x6c: // LIST
        this.#pushNew(this.#popToMark());
        return;
      case 0x64: {
        // DICT
        const items = this.#popToMark();
        const dict = new Map<unknown, unknown>();
        this.#pushNew(dict);
        this.#setItems(items);
        return;
      }
      case 0x91: // FROZENSET
        this.#pushNew(new Set(this.#popToMark()));
        return;
      case 0x61: // APPEND
        this.#append(this.#popSome(1));
        return;
      case 0x65: // APPENDS
        this.#append(this.#popToMark());
        return;
      case 0x90: {
        // ADDITEMS
        const items = this.#popToMark();
        const set = this.#top();
        if (!(set instanceof Set)) this.#fail("adds items to what is no set");
        for (const item of items) (set as Set<unknown>).add(item);
        return;
      }
      case 0x73: // SETITEM
        this.#setItems(this.#popSome(2));
        return;
      case 0x75: // SETITEMS
        this.#setItems(this.#popToMark());
        return;
      case 0x52: // REDUCE
      case 0x81: // NEWOBJ
        this.#call();
        return;
      case 0x62: {
        // BUILD: attributes of a dict (PyTorch's `_metadata`) are dropped.
        const state = this.#pop();
        const object = this.#top();
        if (object instanceof PickleObject) object.state = state;
        else if (!(object instanceof Map)) this.#fail("sets the state of what has none");
        return;
      }
      default:
        this.#fail(`has opcode 0x${opcode.toString(16).padStart(2, "0")}, which is none that checkpoints need`);
    }
  }

  #call(): void {
    const args = this.#pop();
    const callable = this.#pop();
    if (!(callable instanceof PickleGlobal) || !(args instanceof PickleTuple)) {
      this.#fail("calls what is no global, or without a tuple of arguments");
    }
    if (!callable.call) this.#fail(`calls ${callable.name}, which may only be named`);
    this.#pushNew(callable.call(args.items));
  }

  #stackGlobal(): void {
    const [module, name] = this.#popSome(2);
    if (typeof module !== "string" || typeof name !== "string") this.#fail("names a global by what is no string");
    this.#push(this.#global(`${module}.${name}`));
  }

  #global(name: string): PickleGlobal {
    const known = this.#globals.get(name);
    if (known) return known;
    const found = this.#rules.global(name);
    if (!found) {
      this.#fail(
        `asks for the global ${JSON.stringify(name.slice(0, 200))}, which is none that tensors need; nothing was run`,
      );
    }
    this.#globals.set(name, found);
    return found;
  }

  #append(items: readonly unknown[]): void {
    const list = this.#top();
    if (!Array.isArray(list)) this.#fail("appends to what is no list");
    for (const item of items) list.push(item);
  }

  #setItems(items: readonly unknown[]): void {
    const dict = this.#top();
    if (!(dict instanceof Map)) this.#fail("sets an item of what is no dict");
    if (items.length % 2 !== 0) this.#fail("sets a key without a value");
    for (let i = 0; i < items.length; i += 2) dict.set(items[i], items[i + 1]);
  }

  #recall(index: number): unknown {
    if (!this.#memo.has(index)) this.#fail(`recalls memo ${index}, which is not set`);
    return this.#memo.get(index);
  }

  #push(value: unknown): void {
    this.#stack.push(value);
  }

  #pushNew(value: unknown): void {
    if (++this.#containers > MAX_CONTAINERS) this.#fail(`has more than ${MAX_CONTAINERS} objects`);
    this.#stack.push(value);
  }

  #popAny(): unknown {
    if (this.#stack.length === 0) this.#fail("takes from an empty stack");
    return this.#stack.pop();
  }

  #pop(): unknown {
    const value = this.#popAny();
    if (value === MARK) this.#fail("takes a mark for a value");
    return value;
  }

  #top(): unknown {
    const value = this.#pop();
    this.#stack.push(value);
    return value;
  }

  #popSome(count: number): unknown[] {
    const items = Array.from({ length: count }, () => this.#pop());
    return items.reverse();
  }

  #popToMark(): unknown[] {
    const mark = this.#stack.lastIndexOf(MARK);
    if (mark < 0) this.#fail("has no mark on the stack");
    const items = this.#stack.splice(mark);
    return items.slice(1);
  }

  #byte(): number {
    return this.#bytes[this.#skip(1)]!;
  }

  /** Takes `length` bytes; returns where they begin. */
  #skip(length: number): number {
    const from = this.#at;
    if (length > this.#bytes.length - from) throw new PickleTruncated(`ends at byte ${this.#bytes.length}`);
    this.#at += length;
    return from;
  }

  #length32(): number {
    return this.#view.getUint32(this.#skip(4), true);
  }

  #length64(): number {
    const at = this.#skip(8);
    return this.#view.getUint32(at, true) + this.#view.getUint32(at + 4, true) * 2 ** 32;
  }

  #slice(length: number): Uint8Array {
    const at = this.#skip(length);
    return this.#bytes.subarray(at, at + length);
  }

  #string(length: number): string {
    return this.#decode(this.#slice(length));
  }

  #line(): string {
    const end = this.#bytes.indexOf(0x0a, this.#at);
    if (end < 0) throw new PickleTruncated(`ends at byte ${this.#bytes.length}`);
    const text = this.#decode(this.#bytes.subarray(this.#at, end));
    this.#at = end + 1;
    return text;
  }

  #decode(bytes: Uint8Array): string {
    try {
      return this.#text.decode(bytes);
    } catch {
      return this.#fail("has a string that is not valid UTF-8");
    }
  }

  /** A little-endian two's complement integer; a number where that is exact. */
  #integer(length: number): number | bigint {
    if (length > MAX_INTEGER_BYTES) this.#fail(`has an integer of ${length} bytes`);
    let value = 0n;
    const bytes = this.#slice(length);
    for (let i = length - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[i]!);
    const signed = BigInt.asIntN(8 * length, value);
    const number = Number(signed);
    return Number.isSafeInteger(number) ? number : signed;
  }

  #fail(message: string): never {
    throw new CheckpointError(this.#file, `pickle at byte ${this.#opcodeAt}: ${message}`);
  }
}
