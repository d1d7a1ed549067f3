/** Stands in `navigator.gpu`'s door: gives every device all that its adapter has, and remembers the devices that peers ask for. */

const FEATURES: readonly GPUFeatureName[] = ["shader-f16", "subgroups", "timestamp-query"];
const LIMITS = [
  "maxBufferSize",
  "maxStorageBufferBindingSize",
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupSizeX",
  "maxStorageBuffersPerShaderStage",
] as const;

/** The descriptor of a device with the adapter's limits and the features that engines use. */
export function fullDescriptor(adapter: GPUAdapter): GPUDeviceDescriptor {
  const requiredLimits: Record<string, number> = {};
  for (const name of LIMITS) requiredLimits[name] = adapter.limits[name];
  return { requiredFeatures: FEATURES.filter((feature) => adapter.features.has(feature)), requiredLimits };
}

/** Held for ever: Deno ends the process when a device is asked about an adapter that was collected. */
const adapters: GPUAdapter[] = [];

/** Patches `gpu` and returns the list to which every device made through it is added. */
export function recordDevices(gpu: GPU): GPUDevice[] {
  const devices: GPUDevice[] = [];
  const requestAdapter = gpu.requestAdapter.bind(gpu);
  gpu.requestAdapter = async (options) => {
    const adapter = await requestAdapter(options);
    if (!adapter) return adapter;
    adapters.push(adapter);
    const requestDevice = adapter.requestDevice.bind(adapter);
    adapter.requestDevice = async (descriptor) => {
      const device = await requestDevice(descriptor);
      devices.push(device);
      return device;
    };
    return adapter;
  };
  return devices;
}
