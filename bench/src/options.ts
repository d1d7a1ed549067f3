/** The benchmark's command line. */
import { TUNE_MODES } from "@refl/tensor";
import type { MeasureOptions } from "./measure.ts";
import type { RunOptions } from "./run.ts";

export const HOSTS = ["node", "chromium", "deno"] as const;
export const PEER_NAMES = ["jax-js", "tfjs", "ort-web", "webgpu-torch"] as const;

export const USAGE = `pnpm bench [options]

  --host node|chromium|deno   where the engines run (node)
  --size quick|full           full adds the sizes that only a GPU ends in reasonable time (quick)
  --only TEXT                 rows whose name or family holds TEXT
  --peers A,B                 of ${PEER_NAMES.join(", ")}; "none" for this engine alone (all)
  --tune off|cached|online    which kernels refl takes: the standard ones, those found fastest before, or the fastest of all, measured first (off)
  --rounds N                  timed rounds of each row (7)
  --limit SECONDS             an engine without its first result of a row by then is left out of it (300)
  --json FILE                 where the result goes, with a page .html beside it (bench/results/<host>.json)
  --torch FILE                PyTorch's times, made by reference/bench_torch.py (bench/results/torch.json where it exists)
`;

export interface Options extends RunOptions {
  readonly host: (typeof HOSTS)[number];
  readonly json: string;
  /** Null: the default place, if there is a file. */
  readonly torch: string | null;
}

const DEFAULTS: MeasureOptions = { rounds: 7, roundMs: 60, maxIterations: 40 };

/** Throws a RangeError that names the option and what would fit. */
export function parseOptions(args: readonly string[]): Options | "help" {
  const values: Record<string, string> = {};
  for (let i = 0; i < args.length; i++) {
    const [name, inline] = args[i]!.split(/=(.*)/s, 2) as [string, string | undefined];
    if (name === "--help" || name === "-h") return "help";
    if (!["--host", "--size", "--only", "--peers", "--tune", "--rounds", "--limit", "--json", "--torch"].includes(name))
      throw new RangeError(`unknown option ${name}; see --help`);
    const value = inline ?? args[++i];
    if (value === undefined) throw new RangeError(`${name} needs a value`);
    values[name.slice(2)] = value;
  }
  const host = oneOf("--host", values["host"] ?? "node", HOSTS);
  const rounds = Number(values["rounds"] ?? DEFAULTS.rounds);
  if (!Number.isInteger(rounds) || rounds < 1) throw new RangeError("--rounds must be a positive integer");
  const limit = Number(values["limit"] ?? 300);
  if (!(limit > 0)) throw new RangeError("--limit must be a positive number of seconds");
  const wanted = values["peers"]?.split(",") ?? [...PEER_NAMES];
  const peers = wanted[0] === "none" ? [] : wanted.map((name) => oneOf("--peers", name, PEER_NAMES));
  return {
    host,
    size: oneOf("--size", values["size"] ?? "quick", ["quick", "full"] as const),
    only: values["only"] ?? null,
    peers,
    tune: oneOf("--tune", values["tune"] ?? "off", TUNE_MODES),
    measure: { ...DEFAULTS, rounds },
    limitMs: limit * 1000,
    json: values["json"] ?? `bench/results/${host}.json`,
    torch: values["torch"] ?? null,
  };
}

function oneOf<T extends string>(name: string, value: string, allowed: readonly T[]): T {
  if ((allowed as readonly string[]).includes(value)) return value as T;
  throw new RangeError(`${name} must be one of ${allowed.join(", ")}, not "${value}"`);
}
