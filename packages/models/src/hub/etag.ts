/** A hub's ETag as what it is: the hash of the file's content. */

/** How a file's content is hashed: SHA-256 for files in large-file storage, Git's blob SHA-1 for all others. */
export type ContentHash = "sha256" | "git-sha1";

/** A file's ETag: hexadecimal digits in lower case, and the hash that they are. */
export interface ContentTag {
  readonly etag: string;
  readonly hash: ContentHash;
}

/** The tag in an `ETag` or `X-Linked-Etag` header, weak or strong; `undefined` when it is neither of the two hashes. */
export function parseEtag(header: string): ContentTag | undefined {
  const etag = header
    .trim()
    .replace(/^W\//, "")
    .replace(/^"(.*)"$/, "$1")
    .toLowerCase();
  if (/^[0-9a-f]{64}$/.test(etag)) return { etag, hash: "sha256" };
  if (/^[0-9a-f]{40}$/.test(etag)) return { etag, hash: "git-sha1" };
  return undefined;
}

/** What Git hashes before a blob's `size` bytes. */
export function gitBlobHeader(size: number): string {
  return `blob ${size}\0`;
}
