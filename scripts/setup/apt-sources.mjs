/** Reads apt's sources, both forms of sources.list(5), and derives a backports source from the machine's own archive entry. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** The options of one-line entries and their deb822 field names. */
const OPTION_FIELDS = {
  arch: "Architectures",
  lang: "Languages",
  target: "Targets",
  pdiffs: "PDiffs",
  "by-hash": "By-Hash",
  "allow-insecure": "Allow-Insecure",
  "allow-weak": "Allow-Weak",
  "allow-downgrade-to-insecure": "Allow-Downgrade-To-Insecure",
  trusted: "Trusted",
  "signed-by": "Signed-By",
  "check-valid-until": "Check-Valid-Until",
  "check-date": "Check-Date",
  "date-max-future": "Date-Max-Future",
};
const LIST_OPTIONS = new Set(["arch", "lang", "target"]);
const CARRIED_FIELDS = new Map(Object.values(OPTION_FIELDS).map((field) => [field.toLowerCase(), field]));

/** Parses deb822 text (`*.sources`) into entries `{types, uris, suites, components, fields}`; disabled stanzas are left out. */
export function parseDeb822(text) {
  const entries = [];
  const lines = text.split(/\r?\n/).filter((line) => !line.startsWith("#"));
  for (const stanza of lines.join("\n").split(/\n(?:[ \t]*\n)+/)) {
    const values = new Map();
    let current = null;
    for (const line of stanza.split("\n")) {
      if (/^[ \t]/.test(line)) {
        if (current !== null) values.set(current, `${values.get(current)}\n${line}`);
        continue;
      }
      const colon = line.indexOf(":");
      if (colon < 0) continue;
      current = line.slice(0, colon).trim().toLowerCase();
      values.set(current, line.slice(colon + 1).trim());
    }
    if (/^(no|false|0|off|without|disable)$/i.test(values.get("enabled") ?? "yes")) continue;
    const words = (field) => (values.get(field) ?? "").split(/\s+/).filter((word) => word !== "");
    const fields = {};
    for (const [name, field] of CARRIED_FIELDS) {
      if (values.has(name)) fields[field] = values.get(name);
    }
    const entry = {
      types: words("types"),
      uris: words("uris"),
      suites: words("suites"),
      components: words("components"),
      fields,
    };
    if (entry.types.length > 0 && entry.uris.length > 0) entries.push(entry);
  }
  return entries;
}

/** Parses one-line text (`sources.list`, `*.list`) into entries as `parseDeb822` does; CD-ROM entries are left out. */
export function parseOneLine(text) {
  const entries = [];
  for (const raw of text.split(/\r?\n/)) {
    const line = raw.replace(/(^|\s)#.*$/, "").trim();
    const match = /^(deb|deb-src)\s+(?:\[([^\]]*)\]\s*)?(\S+)\s+(\S+)\s*(.*)$/.exec(line);
    if (match === null || match[3].startsWith("cdrom:")) continue;
    const fields = {};
    for (const option of (match[2] ?? "").split(/\s+/)) {
      const [, name, value] = /^([^=+-]+(?:-[^=+-]+)*)[+-]?=(.*)$/.exec(option) ?? [];
      const field = name && OPTION_FIELDS[name.toLowerCase()];
      if (field) fields[field] = LIST_OPTIONS.has(name.toLowerCase()) ? value.replaceAll(",", " ") : value;
    }
    entries.push({
      types: [match[1]],
      uris: [match[3]],
      suites: [match[4]],
      components: match[5].split(/\s+/).filter((word) => word !== ""),
      fields,
    });
  }
  return entries;
}

/** All entries of the machine, read below `folder` (`/etc/apt`). */
export function readSources(folder) {
  const entries = [];
  const main = join(folder, "sources.list");
  if (existsSync(main)) entries.push(...parseOneLine(readFileSync(main, "utf8")));
  const parts = join(folder, "sources.list.d");
  for (const name of existsSync(parts) ? readdirSync(parts).sort() : []) {
    const text = () => readFileSync(join(parts, name), "utf8");
    if (name.endsWith(".list")) entries.push(...parseOneLine(text()));
    else if (name.endsWith(".sources")) entries.push(...parseDeb822(text()));
  }
  return entries;
}

/** Whether one of `entries` serves binary packages of `suite`. */
export function hasSuite(entries, suite) {
  return entries.some((entry) => entry.types.includes("deb") && entry.suites.includes(suite));
}

/** A deb822 source of `<codename>-backports` on the same mirror, with the same key and options, as the machine's entry for the release itself; null when no entry names the release. */
export function deriveBackports(entries, codename) {
  const isArchive = (entry, suites) =>
    entry.types.includes("deb") &&
    entry.components.includes("main") &&
    entry.suites.some((suite) => suites.includes(suite)) &&
    entry.uris.some((uri) => !uri.startsWith("cdrom:"));
  const archive =
    entries.find((entry) => isArchive(entry, [codename])) ??
    entries.find((entry) => isArchive(entry, ["stable", "oldstable", "oldoldstable"])) ??
    entries.find((entry) => isArchive(entry, [`${codename}-updates`]));
  if (archive === undefined) return null;
  const uris = archive.uris.filter((uri) => !uri.startsWith("cdrom:"));
  const lines = ["Types: deb", `URIs: ${uris.join(" ")}`, `Suites: ${codename}-backports`, "Components: main"];
  for (const [field, value] of Object.entries(archive.fields)) {
    lines.push(value.startsWith("\n") ? `${field}:${value}` : `${field}: ${value}`);
  }
  return `${lines.join("\n")}\n`;
}
