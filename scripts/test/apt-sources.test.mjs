/** Reading apt's sources in both forms and deriving the backports source. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { deriveBackports, hasSuite, parseDeb822, parseOneLine, readSources } from "../setup/apt-sources.mjs";

const DEB822 = `Types: deb deb-src
# the main archive
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
`;

describe("parseDeb822", () => {
  it("reads stanzas, ignoring comments and the case of names", () => {
    const [archive, security, ...more] = parseDeb822(DEB822.replace("Suites:", "suites:"));
    expect(archive).toEqual({
      types: ["deb", "deb-src"],
      uris: ["http://mirror.example/debian"],
      suites: ["bookworm", "bookworm-updates"],
      components: ["main", "contrib"],
      fields: { "Signed-By": "/usr/share/keyrings/debian-archive-keyring.gpg" },
    });
    expect(security.suites).toEqual(["bookworm-security"]);
    expect(more).toEqual([]);
  });

  it("leaves out disabled stanzas and reads values over several lines", () => {
    const text =
      "Enabled: no\nTypes: deb\nURIs: http://a\nSuites: x\n\nTypes: deb\nURIs:\n http://b\n http://c\nSuites: y\n";
    expect(parseDeb822(text).map((entry) => entry.uris)).toEqual([["http://b", "http://c"]]);
  });
});

describe("parseOneLine", () => {
  it("reads options, comments and several entries", () => {
    const text = [
      "# deb http://no.example/debian bookworm main",
      "deb [arch=amd64,arm64 signed-by=/etc/apt/keyrings/d.gpg trusted=yes] http://m.example/debian bookworm main contrib # note",
      "deb-src http://m.example/debian bookworm main",
      "deb cdrom:[Debian 12 _Bookworm_]/ bookworm main",
      "",
    ].join("\n");
    const entries = parseOneLine(text);
    expect(entries).toHaveLength(2);
    expect(entries[0]).toEqual({
      types: ["deb"],
      uris: ["http://m.example/debian"],
      suites: ["bookworm"],
      components: ["main", "contrib"],
      fields: { Architectures: "amd64 arm64", "Signed-By": "/etc/apt/keyrings/d.gpg", Trusted: "yes" },
    });
  });
});

describe("deriveBackports", () => {
  const expected = [
    "Types: deb",
    "URIs: http://mirror.example/debian",
    "Suites: bookworm-backports",
    "Components: main",
    "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg",
    "",
  ].join("\n");

  it("takes mirror and key of the release's own entry", () => {
    expect(deriveBackports(parseDeb822(DEB822), "bookworm")).toBe(expected);
  });

  it("does the same from a one-line entry", () => {
    const line =
      "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://mirror.example/debian bookworm main";
    expect(deriveBackports(parseOneLine(line), "bookworm")).toBe(expected);
  });

  it("keeps a key written into the stanza", () => {
    const key = "Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQINBF\n -----END PGP PUBLIC KEY BLOCK-----";
    const text = `Types: deb\nURIs: http://m.example/debian\nSuites: bookworm\nComponents: main\n${key}\n`;
    const derived = deriveBackports(parseDeb822(text), "bookworm");
    expect(derived).toContain(key);
    expect(parseDeb822(derived)[0].suites).toEqual(["bookworm-backports"]);
  });

  it("falls back to an alias of the release, never to security or another release", () => {
    const one = (suite) => parseOneLine(`deb http://m.example/debian ${suite} main`);
    expect(deriveBackports(one("oldstable"), "bookworm")).toContain("bookworm-backports");
    expect(deriveBackports(one("bookworm-security"), "bookworm")).toBeNull();
    expect(deriveBackports(one("trixie"), "bookworm")).toBeNull();
    expect(deriveBackports(parseOneLine("deb http://m.example/x bookworm stable"), "bookworm")).toBeNull();
  });
});

describe("readSources", () => {
  it("reads sources.list and both kinds of parts, and nothing else", () => {
    const folder = mkdtempSync(join(tmpdir(), "apt-"));
    mkdirSync(join(folder, "sources.list.d"));
    writeFileSync(join(folder, "sources.list"), "deb http://a.example/debian bookworm main\n");
    writeFileSync(join(folder, "sources.list.d/b.list"), "deb http://b.example/debian bookworm-backports main\n");
    writeFileSync(join(folder, "sources.list.d/c.sources"), DEB822);
    writeFileSync(join(folder, "sources.list.d/d.list.disabled"), "deb http://d.example/debian bookworm main\n");
    const entries = readSources(folder);
    rmSync(folder, { recursive: true });
    expect(entries.map((entry) => entry.uris[0])).toEqual([
      "http://a.example/debian",
      "http://b.example/debian",
      "http://mirror.example/debian",
      "http://mirror.example/debian-security",
    ]);
    expect(hasSuite(entries, "bookworm-backports")).toBe(true);
    expect(hasSuite(entries, "trixie")).toBe(false);
    expect(readSources(join(folder, "nowhere"))).toEqual([]);
  });
});
