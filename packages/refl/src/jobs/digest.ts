/** Digests of weights: which model a number was measured on. */
import { type Module, readTensors } from "@refl/models";

/** SHA-256 of all weights' f32 bytes in state-dict order, in hex. */
export async function weightsDigest(model: Pick<Module, "stateDict">): Promise<string> {
  const values = await readTensors([...model.stateDict().values()]);
  const bytes = new Uint8Array(values.reduce((sum, v) => sum + v.byteLength, 0));
  let at = 0;
  for (const v of values) {
    bytes.set(new Uint8Array(v.buffer, v.byteOffset, v.byteLength), at);
    at += v.byteLength;
  }
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(hash, (b) => b.toString(16).padStart(2, "0")).join("");
}
