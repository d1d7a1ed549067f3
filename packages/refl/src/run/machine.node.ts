/** What a summary tells of the process on Node: its peak memory and the versions of the programs. */
import process from "node:process";

/** The largest resident memory of this process so far, in bytes. */
export function hostPeakBytes(): number {
  return process.resourceUsage().maxRSS * 1024;
}

/** Versions of the runtime and the operating system, for a summary's `software`. */
export function softwareVersions(): Record<string, string> {
  return { node: process.versions.node, v8: process.versions.v8, system: `${process.platform} ${process.arch}` };
}
