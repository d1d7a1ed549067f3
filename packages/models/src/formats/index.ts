/** Checkpoint files, configs and JSON. */
export { type ByteSource, blobSource, bytesSource, readAll } from "./byte-source.ts";
export type { Checkpoint, CheckpointFormat, TensorHeader } from "./checkpoint.ts";
export { isBookkeepingKey, parseConfig } from "./config.ts";
export { entryToFloat32, float32Bytes, float32Entry } from "./entries.ts";
export {
  type FileData,
  type ModelFolder,
  memoryFolder,
  readJsonSource,
  subfolder,
  type WritableModelFolder,
} from "./folder.ts";
export { urlFolder } from "./folder-url.ts";
export {
  isJsonObject,
  type JsonObject,
  type JsonValue,
  parseJson,
  parseJsonObject,
  stringifyJson,
} from "./json.ts";
export {
  isLdmCheckpoint,
  type LdmComponents,
  type LdmOptions,
  ldmAutoencoder,
  splitLdmCheckpoint,
} from "./ldm.ts";
export {
  hasLora,
  type LoraComponent,
  type LoraFileOptions,
  type LoraFormat,
  type LoraLayerWeights,
  type LoraWeights,
  peftConfig,
  type ReadLoraOptions,
  readLora,
  writeLora,
} from "./lora.ts";
export {
  type ComponentClass,
  componentClass,
  type ModelIndex,
  modelIndexToJson,
  parseModelIndex,
  readModelIndex,
} from "./model-index.ts";
export { nearestName } from "./names.ts";
export { type CheckpointOptions, openCheckpoint } from "./open-checkpoint.ts";
export { isOpenAIClip, openAIClip, openAIClipConfig } from "./openai-clip.ts";
export {
  dtypeSize,
  openSafetensors,
  type SafetensorsDType,
  SafetensorsFile,
  streamSafetensors,
  type TensorEntry,
  type TensorInfo,
  writeSafetensors,
} from "./safetensors.ts";
export { openShardedCheckpoint, openWeights, type WeightsOptions } from "./sharded.ts";
export { clipTextRename, type MatchOptions, matchStateDict, POSITION_IDS, type StateDictMatch } from "./state-dict.ts";
export { StorageError } from "./storage-error.ts";
export { openTorchLegacy } from "./torch-legacy.ts";
export { openTorchZip, type TorchOptions } from "./torch-zip.ts";
