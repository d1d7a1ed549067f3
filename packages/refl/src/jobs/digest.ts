/** Digests of weights: which model a number was measured on. */
import { type Module, readTensors } from "@refl/models";

const hex = (bytes: Uint8Array): string => Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");

async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
}

const bytesOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array<ArrayBuffer> =>
  new Uint8Array(buffer as ArrayBuffer, byteOffset, byteLength);

function joined(parts: readonly ArrayBufferView[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(parts.reduce((sum, v) => sum + v.byteLength, 0));
  let at = 0;
  for (const v of parts) {
    bytes.set(new Uint8Array(v.buffer, v.byteOffset, v.byteLength), at);
    at += v.byteLength;
  }
  return bytes;
}

/** Weights of more bytes are digested one by one, so that they never lie in memory whole. */
const WHOLE = 2 ** 27;

/** SHA-256 of all weights' f32 bytes in state-dict order, in hex; of more than 128 MiB the SHA-256 of the weights' SHA-256s. */
export async function weightsDigest(model: Pick<Module, "stateDict">): Promise<string> {
  const weights = [...model.stateDict().values()];
  if (weights.reduce((sum, weight) => sum + 4 * weight.numel, 0) <= WHOLE)
    return hex(await sha256(joined(await readTensors(weights))));
  const digests: Promise<Uint8Array>[] = [];
  for (const weight of weights) {
    const values = await weight.data();
    // The one before is digested while the device gives the next.
    await digests.at(-1);
    digests.push(sha256(bytesOf(values)));
  }
  return hex(await sha256(joined(await Promise.all(digests))));
}
