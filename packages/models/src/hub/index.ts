/** Models on a hub: their ids and the errors of fetching them. What needs a disk is in `@refl/models/node`. */
export { HubError, type HubErrorReason } from "./hub-error.ts";
export {
  DEFAULT_REVISION,
  type ModelId,
  type ModelReference,
  modelIdText,
  parseModelId,
  parseModelReference,
} from "./model-id.ts";
