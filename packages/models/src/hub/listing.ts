/** A model's listing, as the hub's API tells it: the commit that a revision means, and the names of its files. */
import * as v from "valibot";
import { HubError } from "./hub-error.ts";
import { isCommit, unsafePath } from "./model-id.ts";

/** The files of a model at one commit, in the hub's order. */
export interface ModelListing {
  readonly commit: string;
  readonly files: readonly string[];
}

const ListingSchema = v.object({
  sha: v.string(),
  siblings: v.optional(v.array(v.object({ rfilename: v.string() })), []),
});

/**
 * Reads the API's answer. `from` is what error messages say.
 * @throws HubError (`protocol`) when it is no listing, or names a file that would be written outside the model's folder.
 */
export function parseListing(text: string, from: string): ModelListing {
  const fail = (what: string): never => {
    throw new HubError("protocol", `${from}: the answer is not a model's listing: ${what}`);
  };
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return fail("it is no JSON");
  }
  const parsed = v.safeParse(ListingSchema, json);
  if (!parsed.success) return fail(parsed.issues[0].message);
  const { sha, siblings } = parsed.output;
  if (!isCommit(sha)) return fail("sha is no commit of 40 hex digits");
  const files = [...new Set(siblings.map(({ rfilename }) => rfilename))];
  for (const file of files) {
    const why = unsafePath(file);
    if (why) throw new HubError("protocol", `${from}: refused, the file name ${JSON.stringify(file)} ${why}`);
  }
  return { commit: sha, files };
}
