/** The decision which driver packages to install, and the commands it words. */
import { describe, expect, it } from "vitest";
import { parseOneLine } from "../setup/apt-sources.mjs";
import {
  installArguments,
  majorVersion,
  parseOsRelease,
  parsePolicy,
  planCommands,
  planDriver,
} from "../setup/driver-plan.mjs";

const BOOKWORM = parseOsRelease(
  'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nVERSION_ID="12"\nVERSION_CODENAME=bookworm\nID=debian\n',
);
const SOURCES = parseOneLine("deb http://mirror.example/debian bookworm main");
const OLD = { candidate: "22.3.6-1+deb12u1", versions: ["22.3.6-1+deb12u1"] };
const BACKPORTS = parseOneLine("deb http://mirror.example/debian bookworm-backports main");

describe("parsePolicy", () => {
  it("reads the candidate and the table", () => {
    const text = [
      "mesa-vulkan-drivers:",
      "  Installed: 22.3.6-1+deb12u1",
      "  Candidate: 22.3.6-1+deb12u1",
      "  Version table:",
      "     25.0.7-2~bpo12+1 100",
      "        100 http://mirror.example/debian bookworm-backports/main amd64 Packages",
      " *** 22.3.6-1+deb12u1 500",
      "        500 http://mirror.example/debian bookworm/main amd64 Packages",
      "        100 /var/lib/dpkg/status",
    ].join("\n");
    expect(parsePolicy(text)).toEqual({
      candidate: "22.3.6-1+deb12u1",
      versions: ["25.0.7-2~bpo12+1", "22.3.6-1+deb12u1"],
    });
    expect(parsePolicy("x:\n  Installed: (none)\n  Candidate: (none)\n")).toEqual({ candidate: null, versions: [] });
    expect(parsePolicy("")).toEqual({ candidate: null, versions: [] });
  });
});

describe("majorVersion", () => {
  it("leaves out the epoch", () => {
    expect(["1:25.0.7-2", "22.3.6-1+deb12u1", "", null].map(majorVersion)).toEqual([25, 22, null, null]);
  });
});

describe("planDriver", () => {
  it("takes the machine's own candidate when it is new enough", () => {
    const policy = { candidate: "25.0.7-2", versions: ["25.0.7-2"] };
    const plan = planDriver({ policy, osRelease: { ...BOOKWORM, VERSION_CODENAME: "trixie" }, sources: [] });
    expect(plan).toEqual({ release: null, source: null, problem: null });
    expect(installArguments(plan).join(" ")).toBe("install -y --no-install-recommends mesa-vulkan-drivers libvulkan1");
  });

  it("adds the derived backports source on Debian 12, with or without package lists", () => {
    for (const policy of [OLD, { candidate: null, versions: [] }]) {
      const plan = planDriver({ policy, osRelease: BOOKWORM, sources: SOURCES });
      expect(plan.problem).toBeNull();
      expect(plan.release).toBe("bookworm-backports");
      expect(plan.source).toContain("URIs: http://mirror.example/debian\nSuites: bookworm-backports\n");
    }
  });

  it("adds nothing when backports are there", () => {
    const policy = { candidate: "22.3.6", versions: ["25.0.7-2~bpo12+1", "22.3.6"] };
    const plan = planDriver({ policy, osRelease: BOOKWORM, sources: BACKPORTS });
    expect(plan).toEqual({ release: "bookworm-backports", source: null, problem: null });
  });

  it("says why when it cannot be done", () => {
    const problem = (osRelease, sources) => planDriver({ policy: OLD, osRelease, sources }).problem;
    expect(problem(BOOKWORM, BACKPORTS)).toMatch(/bookworm-backports offers nothing newer than Mesa 22\.3\.6/);
    expect(problem(BOOKWORM, [])).toMatch(/no mirror of bookworm/);
    expect(problem({ ID: "ubuntu", PRETTY_NAME: "Ubuntu 22.04", VERSION_CODENAME: "jammy" }, SOURCES)).toMatch(
      /^Ubuntu 22\.04 offers Mesa 22\.3\.6-1\+deb12u1; Dawn needs Mesa 24/,
    );
  });
});

describe("planCommands", () => {
  it("words each command as it is to be typed", () => {
    const plan = planDriver({ policy: OLD, osRelease: BOOKWORM, sources: SOURCES });
    expect(planCommands(plan, { sudo: true })).toEqual([
      "printf '%s\\n' 'Types: deb' 'URIs: http://mirror.example/debian' 'Suites: bookworm-backports' 'Components: main' | sudo tee /etc/apt/sources.list.d/refl-backports.sources",
      "sudo apt-get update",
      "sudo apt-get install -y --no-install-recommends -t bookworm-backports mesa-vulkan-drivers libvulkan1",
    ]);
    expect(planCommands({ release: null, source: null, problem: null }, { sudo: false })).toEqual([
      "apt-get update",
      "apt-get install -y --no-install-recommends mesa-vulkan-drivers libvulkan1",
    ]);
  });
});
