/** The config of `pull`: which files of a hub's model to fetch, and where to. */
import * as v from "valibot";
import { count, flag, text, whole } from "./fields.ts";
import type { ConfigDefinition } from "./resolve.ts";

const patterns = (description: string) =>
  v.optional(v.pipe(v.array(v.pipe(v.string(), v.nonEmpty())), v.description(description)), []);

/** Schema of the config of `pull`. */
export const PullSchema = v.strictObject({
  model: text("Model on the hub, `owner/name` or `owner/name@revision`"),
  files: patterns(
    "Files to fetch: names, patterns such as `*.safetensors`, or folders such as `unet/`; all where none is given",
  ),
  include: patterns("Further files to fetch, as `files`"),
  exclude: patterns("Files to leave out, as `files`"),
  revision: v.optional(text("Branch, tag or commit; `main` where neither this nor the model's name tells it")),
  endpoint: v.optional(text("Address of the hub; otherwise that in HF_ENDPOINT")),
  cacheDir: v.optional(text("Folder of the hub's cache; otherwise HF_HUB_CACHE, or `hub` in HF_HOME")),
  localDir: v.optional(text("Folder for the files themselves, instead of the cache")),
  offline: v.optional(flag("Take from the cache and ask nobody, as HF_HUB_OFFLINE=1 does"), false),
  forceDownload: v.optional(flag("Fetch also what is there already"), false),
  dryRun: v.optional(flag("Tell what would be fetched, and fetch nothing"), false),
  maxWorkers: v.optional(count("Files fetched at once"), 4),
  retries: v.optional(whole("Failures in a row that are borne for a file; each wait is longer than the one before"), 5),
});

/** The resolved config of `pull`. */
export type PullConfig = v.InferOutput<typeof PullSchema>;

/** `pull`. */
export const pullConfig: ConfigDefinition<typeof PullSchema> = { command: "pull", schema: PullSchema };
