/** Names of models on a hub: `owner/name`, with a revision `@rev`, and of one file in them, `:path`. */
import { HubError } from "./hub-error.ts";

/** The revision that an id without one means. */
export const DEFAULT_REVISION = "main";

/** A model at a revision: a branch, a tag, or a commit of 40 hex digits. */
export interface ModelId {
  readonly owner: string;
  readonly name: string;
  readonly revision: string;
}

/** An id as it was written, with the file in the model that it may name. */
export interface ModelReference {
  readonly id: ModelId;
  readonly file?: string;
}

/** The hub's own rule: letters, digits, `-`, `_`, `.`; no `-` or `.` at either end, no `--` and no `..`. */
const PART = /^(?!.*(?:--|\.\.))\w(?:[\w.-]{0,94}\w)?$/;

/** Longest file name of a listing in characters; file systems end a path at 4,096 bytes. */
const MAX_FILE_NAME = 1024;

/** Whether a character steers a terminal instead of standing on it. */
export function isControl(character: string): boolean {
  return character < " " || (character >= "\x7f" && character < "\xa0");
}

/**
 * Why a file's path in a model is not safe to write below a folder, or `undefined` when it is: a plain relative path with `/` on every system,
 * without `.` and `..`, drive letters, backslashes and control characters.
 */
export function unsafePath(path: string): string | undefined {
  if (path.length > MAX_FILE_NAME) return `is longer than ${MAX_FILE_NAME} characters`;
  if (path.includes("\\") || path.includes(":")) return "holds a backslash or a colon";
  if ([...path].some(isControl)) return "holds a control character";
  const parts = path.split("/");
  if (parts.some((part) => part === "" || part === "." || part === ".."))
    return "is not a relative path inside the folder";
  return undefined;
}

/** `owner/name[@revision][:file]` taken apart; `undefined` when the text is no such thing. */
export function parseModelReference(text: string): ModelReference | undefined {
  const match = /^([^/@:]+)\/([^/@:]+)(?:@([^:]+))?(?::(.+))?$/.exec(text);
  if (!match) return undefined;
  const [, owner = "", name = "", revision = DEFAULT_REVISION, file] = match;
  if (!PART.test(owner) || !PART.test(name) || unsafePath(revision)) return undefined;
  if (file !== undefined && unsafePath(file)) return undefined;
  return { id: { owner, name, revision }, ...(file === undefined ? {} : { file }) };
}

/** `owner/name[@revision]` taken apart. @throws HubError (`setting`) when the text is no such thing. */
export function parseModelId(text: string): ModelId {
  const reference = parseModelReference(text);
  if (!reference || reference.file !== undefined)
    throw new HubError(
      "setting",
      `${JSON.stringify(text)} is no model of a hub: expected owner/name or owner/name@revision`,
    );
  return reference.id;
}

/** The id as people write it: the revision only where it is not the default. */
export function modelIdText({ owner, name, revision }: ModelId): string {
  return `${owner}/${name}${revision === DEFAULT_REVISION ? "" : `@${revision}`}`;
}

/** Whether a revision is a commit's own hash, which never changes what it means. */
export function isCommit(revision: string): boolean {
  return /^[0-9a-f]{40}$/.test(revision);
}
