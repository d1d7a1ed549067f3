/** Trying again after failures that pass: dropped connections, a server that is busy, answers that end early. */

/** A failure that may pass. `wait` is how many seconds the server asks to wait, where it does; `status` its HTTP status, 0 for none. */
export class TransientError extends Error {
  readonly wait: number | undefined;
  readonly status: number;
  constructor(
    message: string,
    { wait, status = 0, cause }: { wait?: number | undefined; status?: number; cause?: unknown } = {},
  ) {
    super(message, { cause });
    this.name = "TransientError";
    this.wait = wait;
    this.status = status;
  }
}

/** How often and how patiently something is tried again. */
export interface RetryOptions {
  /** Failures in a row that are borne; the next one is final. */
  readonly retries: number;
  /** Seconds before the first new try; each further one waits twice as long. */
  readonly delay: number;
  readonly signal?: AbortSignal | undefined;
  /** Called before each wait, of `seconds`. */
  readonly onRetry?: ((error: TransientError, seconds: number) => void) | undefined;
}

/** Longest wait in seconds of our own accord. */
const MAX_DELAY = 30;

/** Longest wait in seconds that a server may ask for; beyond it the failure is final. */
export const MAX_SERVER_WAIT = 300;

/** Resolves after `seconds`. Throws the signal's reason when it is set meanwhile. */
export function pause(seconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const stop = (): void => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, seconds * 1000);
    signal?.addEventListener("abort", stop, { once: true });
  });
}

/**
 * Does `work` until it succeeds. It is given `progress`, to be called when it got further than before: the failures are then counted anew.
 * Throws what `work` throws when that is no `TransientError`, and the last one when they are too many.
 */
export async function retrying<T>(work: (progress: () => void) => Promise<T>, options: RetryOptions): Promise<T> {
  const { retries, delay, signal, onRetry } = options;
  let failures = 0;
  for (;;) {
    try {
      return await work(() => {
        failures = 0;
      });
    } catch (error) {
      if (!(error instanceof TransientError) || failures >= retries || (error.wait ?? 0) > MAX_SERVER_WAIT) throw error;
      // Up to a quarter more, so that clients that failed together do not come again together.
      const own = Math.min(MAX_DELAY, delay * 2 ** failures) * (1 + Math.random() / 4);
      failures++;
      const seconds = Math.max(own, error.wait ?? 0);
      onRetry?.(error, seconds);
      await pause(seconds, signal);
    }
  }
}
