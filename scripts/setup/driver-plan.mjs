/** Decides which packages bring a WebGPU adapter on a machine with apt, and words the commands for a person to type. */
import { deriveBackports, hasSuite } from "./apt-sources.mjs";

/** The oldest Mesa whose lavapipe Dawn takes. */
export const OLDEST_MESA = 24;
/** What brings an adapter: the Vulkan loader and Mesa's drivers, lavapipe among them. */
export const DRIVER_PACKAGES = ["mesa-vulkan-drivers", "libvulkan1"];
/** Where an added backports source goes. */
export const SOURCE_FILE = "/etc/apt/sources.list.d/refl-backports.sources";

/** The upstream major number of a Debian version (`1:25.0.7-2~bpo12+1` gives 25), or null. */
export function majorVersion(version) {
  const match = /^(?:\d+:)?(\d+)/.exec(version ?? "");
  return match === null ? null : Number(match[1]);
}

/** The candidate of `apt-cache policy` output and the versions of its table; candidate null when there is none. */
export function parsePolicy(text) {
  const candidate = /^\s*Candidate:\s*(\S+)/m.exec(text)?.[1] ?? null;
  const versions = [...text.matchAll(/^ (?:\*\*\*|\s{3}) (\d\S*) -?\d+$/gm)].map((match) => match[1]);
  return { candidate: candidate === "(none)" ? null : candidate, versions };
}

/** The fields of os-release(5) text. */
export function parseOsRelease(text) {
  const fields = {};
  for (const line of text.split("\n")) {
    const match = /^([A-Z_]+)=(?:"(.*)"|'(.*)'|(.*))$/.exec(line.trim());
    if (match !== null) fields[match[1]] = match[2] ?? match[3] ?? match[4];
  }
  return fields;
}

/**
 * What to do for a driver: `{release, source, problem}`. `release` is the suite to give to `apt-get install -t` (null: the
 * machine's own choice is new enough), `source` the text of a source to add first (null: none needed), `problem` why it cannot be
 * done (null: it can). `policy` is what `parsePolicy` gives for mesa-vulkan-drivers; without a candidate the Debian release decides.
 */
export function planDriver({ policy, osRelease, sources }) {
  const isNew = (version) => (majorVersion(version) ?? 0) >= OLDEST_MESA;
  if (policy.candidate !== null && isNew(policy.candidate)) return { release: null, source: null, problem: null };
  const codename = osRelease.VERSION_CODENAME;
  const debian = osRelease.ID === "debian";
  if (policy.candidate === null && !(debian && Number(osRelease.VERSION_ID) < 13)) {
    return { release: null, source: null, problem: null };
  }
  const found = policy.candidate === null ? "no Mesa" : `Mesa ${policy.candidate}`;
  const name = osRelease.PRETTY_NAME ?? "this system";
  if (!debian || !codename) {
    return { release: null, source: null, problem: `${name} offers ${found}; Dawn needs Mesa ${OLDEST_MESA} or newer` };
  }
  const release = `${codename}-backports`;
  if (hasSuite(sources, release)) {
    const stale = policy.candidate !== null && policy.versions.length > 0 && !policy.versions.some(isNew);
    return {
      release,
      source: null,
      problem: stale ? `${release} offers nothing newer than ${found}; Dawn needs Mesa ${OLDEST_MESA} or newer` : null,
    };
  }
  const source = deriveBackports(sources, codename);
  const problem = source === null ? `apt's sources name no mirror of ${codename} from which to take ${release}` : null;
  return { release, source, problem };
}

/** `apt-get install` arguments for the plan. */
export function installArguments(plan, packages = DRIVER_PACKAGES) {
  return ["install", "-y", "--no-install-recommends", ...(plan.release ? ["-t", plan.release] : []), ...packages];
}

function quote(text) {
  return /^[\w./:=+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/** The shell lines that carry out `plan`, each with `sudo` where `sudo` is true. */
export function planCommands(plan, { sudo }) {
  const prefix = sudo ? "sudo " : "";
  const lines = [];
  if (plan.source !== null) {
    const text = plan.source.trimEnd().split("\n").map(quote).join(" ");
    lines.push(`printf '%s\\n' ${text} | ${prefix}tee ${SOURCE_FILE}`);
  }
  lines.push(`${prefix}apt-get update`, `${prefix}apt-get ${installArguments(plan).join(" ")}`);
  return lines;
}
