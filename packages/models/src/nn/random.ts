/** The random stream that dropout and drop-path draw from during a forward pass. */
import { PhiloxStream } from "@refl/tensor";
import { nameHash } from "./init.ts";

let current: PhiloxStream | null = null;

/** The stream of the pass that is running, null outside {@link withRandom}. */
export function currentRandom(): PhiloxStream | null {
  return current;
}

/**
 * Runs `fn`; dropout inside draws from `stream`. Each module's mask is a function of the stream and the module's path, so a pass computed again
 * has the same masks. Two passes that need different masks need different streams. `fn` must be synchronous.
 */
export function withRandom<T>(stream: PhiloxStream | null, fn: () => T): T {
  const before = current;
  current = stream;
  try {
    return fn();
  } finally {
    current = before;
  }
}

/** The part of a stream that belongs to a name. */
export function namedStream(stream: PhiloxStream, name: string): PhiloxStream {
  return new PhiloxStream(stream.seed, nameHash(`${stream.stream}/${name}`));
}
