/** The typed error of a place that could not be written: a full disk, a missing right, a read-only medium. */
import { ReflError } from "@refl/tensor";

/** A file could not be written. `path` is what was asked for, `reason` the system's code (`ENOSPC`, `EACCES`, …) or `""`. */
export class StorageError extends ReflError {
  readonly path: string;
  readonly reason: string;
  constructor(path: string, reason: string, message: string, options?: ErrorOptions) {
    super("storage", `${path}: ${message}`, 2, options);
    this.path = path;
    this.reason = reason;
  }
}
