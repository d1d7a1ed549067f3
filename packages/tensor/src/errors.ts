/** Typed errors of every floor: each carries a stable `code`, fields that programs can read, and the CLI's exit code. */

/** Base of all errors that this project throws on purpose. `exitCode` is what the CLI ends with (users see 2 for bad input, 3 for no GPU). */
export class ReflError extends Error {
  readonly code: string;
  readonly exitCode: number;
  constructor(code: string, message: string, exitCode = 1, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
    this.code = code;
    this.exitCode = exitCode;
  }
}

/** Shapes that an op cannot combine. `shapes` are the operands' shapes in argument order; `hint` says what would fit. */
export class ShapeError extends ReflError {
  readonly op: string;
  readonly shapes: readonly (readonly number[])[];
  constructor(op: string, shapes: readonly (readonly number[])[], hint: string) {
    super("shape", `${op}: shapes ${shapes.map((s) => `[${s.join(", ")}]`).join(" and ")}: ${hint}`, 2);
    this.op = op;
    this.shapes = shapes;
  }
}

/** An element type that an op does not take. */
export class DTypeError extends ReflError {
  readonly op: string;
  readonly dtypes: readonly string[];
  constructor(op: string, dtypes: readonly string[], hint: string) {
    super("dtype", `${op}: dtypes ${dtypes.join(", ")}: ${hint}`, 2);
    this.op = op;
    this.dtypes = dtypes;
  }
}

/** A size above what the adapter offers. `limit` and `needed` are in the unit that the message names. */
export class LimitError extends ReflError {
  readonly limit: number;
  readonly needed: number;
  constructor(what: string, needed: number, limit: number, hint: string) {
    super("limit", `${what}: needs ${needed}, the adapter allows ${limit}; ${hint}`, 2);
    this.limit = limit;
    this.needed = needed;
  }
}

/** The memory budget would be exceeded. Sizes in bytes. */
export class OutOfMemoryError extends ReflError {
  readonly requested: number;
  readonly inUse: number;
  readonly budget: number;
  constructor(requested: number, inUse: number, budget: number, holders: string) {
    super(
      "out-of-memory",
      `out of memory: ${requested} bytes asked, ${inUse} in use, budget ${budget}; largest: ${holders}`,
    );
    this.requested = requested;
    this.inUse = inUse;
    this.budget = budget;
  }
}

/** The GPU device was lost; every tensor of it is gone. */
export class DeviceLostError extends ReflError {
  constructor(reason: string, message: string) {
    super(
      "device-lost",
      `the GPU device was lost (${reason}): ${message}. Its tensors are gone: make a new device and load the last checkpoint`,
    );
  }
}

/** No usable WebGPU adapter. The message says what to install. */
export class NoAdapterError extends ReflError {
  constructor(message: string) {
    super("no-adapter", message, 3);
  }
}

/** A tensor used after its storage was given back. */
export class DisposedError extends ReflError {
  constructor(what: string) {
    super("disposed", `${what} was disposed: keep it out of the scope() that made it, or clone it`);
  }
}

/** A wrong use of the tape: a second backward, a gradient of an op that has none, a root that is no scalar. */
export class AutogradError extends ReflError {
  constructor(message: string) {
    super("autograd", message);
  }
}

/** What a captured function may not do, or a plan that no longer says what its function does. `plan` is the label given to `capture`. */
export class CaptureError extends ReflError {
  readonly plan: string;
  constructor(plan: string, message: string) {
    super("capture", `capture of ${plan}: ${message}`);
    this.plan = plan;
  }
}

/** A checkpoint that does not fit or is damaged. `file` and `field` say where; the key lists are filled by a strict load. */
export class CheckpointError extends ReflError {
  readonly file: string;
  readonly missing: readonly string[];
  readonly unexpected: readonly string[];
  readonly misshapen: readonly { key: string; expected: readonly number[]; found: readonly number[] }[];
  constructor(
    file: string,
    message: string,
    keys: {
      missing?: readonly string[];
      unexpected?: readonly string[];
      misshapen?: readonly { key: string; expected: readonly number[]; found: readonly number[] }[];
    } = {},
  ) {
    super("checkpoint", `${file}: ${message}`, 2);
    this.file = file;
    this.missing = keys.missing ?? [];
    this.unexpected = keys.unexpected ?? [];
    this.misshapen = keys.misshapen ?? [];
  }
}

/** A data or config file that cannot be used: the file, the line (1-based, 0 when it has none) and the field. */
export class DataError extends ReflError {
  readonly file: string;
  readonly line: number;
  readonly field: string;
  constructor(file: string, line: number, field: string, message: string) {
    super("data", `${file}${line ? `:${line}` : ""}${field ? `: ${field}` : ""}: ${message}`, 2);
    this.file = file;
    this.line = line;
    this.field = field;
  }
}

/** Training produced a NaN or an infinity; the weights were not touched. `tensor` names the first bad one. */
export class DivergedError extends ReflError {
  readonly tensor: string;
  readonly step: number;
  constructor(tensor: string, step: number) {
    super("diverged", `step ${step}: ${tensor} holds NaN or infinity; the weights keep their last good values`, 4);
    this.tensor = tensor;
    this.step = step;
  }
}

/**
 * A table of kernel choices that could not be used or kept; work goes on without it, so this is told and never thrown. `place` is the file or item;
 * `reason`: `corrupt` (damaged), `foreign` (another device's, or of another form), `unreadable`, `unwritable`.
 */
export class TuneCacheWarning extends ReflError {
  readonly place: string;
  readonly reason: "corrupt" | "foreign" | "unreadable" | "unwritable";
  constructor(place: string, reason: TuneCacheWarning["reason"], message: string, options?: ErrorOptions) {
    super("tune-cache", `${place}: kernel choices ${reason}: ${message}; going on without`, 1, options);
    this.place = place;
    this.reason = reason;
  }
}
