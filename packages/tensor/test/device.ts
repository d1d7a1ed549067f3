/** The devices that tests share: one with all that the adapter offers and one with the portable tier. A WebGPU error fails the next read. */
import { createDevice, type Device } from "../src/index.ts";
import { nodeHost } from "../src/node.ts";

const made = new Map<string, Promise<Device>>();

export function testDevice(tier: "full" | "portable" = "full"): Promise<Device> {
  let device = made.get(tier);
  if (!device) made.set(tier, (device = createDevice({ host: nodeHost(), tier })));
  return device;
}
