/** What a tuner learnt on one device, and the JSON that it is kept as. */
import type { AdapterIdentity, Capabilities } from "../device.ts";
import { TuneCacheWarning } from "../errors.ts";
import { fingerprint } from "./key.ts";

/** What was learnt of one key. */
export interface TuneEntry {
  /** The fastest kernel. */
  readonly choice: string;
  /** Milliseconds of each candidate. */
  readonly ms: Readonly<Record<string, number>>;
  /** Fingerprint of the candidates' texts. */
  readonly kernels: string;
}

/** Entries by key. */
export type TuneTable = Map<string, TuneEntry>;

/** What a table is true of: adapter, driver and what kernels may use there. */
export type TuneDevice = Omit<AdapterIdentity, "software"> & Pick<Capabilities, "subgroupSize" | "f16">;

/** The version of the JSON's form. */
const VERSION = 1;

export function tuneDevice(adapter: AdapterIdentity, { subgroupSize, f16 }: Capabilities): TuneDevice {
  const { vendor, architecture, device, description } = adapter;
  return { vendor, architecture, device, description, subgroupSize, f16 };
}

/** The name of a device's table in a store: readable, one for each adapter, driver and tier. */
export function tableName(device: TuneDevice): string {
  const words = `${device.vendor} ${device.architecture}`.toLowerCase().replaceAll(/[^a-z0-9]+/g, "-");
  return `kernels-${words.replaceAll(/^-|-$/g, "") || "unnamed"}-${fingerprint(JSON.stringify(device))}.json`;
}

/** The JSON of a table. */
export function formatTable(device: TuneDevice, table: TuneTable): string {
  const entries = Object.fromEntries([...table].sort(([a], [b]) => (a < b ? -1 : 1)));
  return `${JSON.stringify({ format: "refl-kernels", version: VERSION, device, entries }, null, 1)}\n`;
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function isEntry(value: unknown): value is TuneEntry {
  return (
    isRecord(value) &&
    typeof value["choice"] === "string" &&
    typeof value["kernels"] === "string" &&
    isRecord(value["ms"]) &&
    Object.values(value["ms"]).every((ms) => typeof ms === "number" && Number.isFinite(ms) && ms >= 0)
  );
}

/** Reads a table's JSON. Throws {@link TuneCacheWarning} for what is no table, is damaged, or is another device's. */
export function parseTable(text: string, device: TuneDevice, place: string): TuneTable {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw new TuneCacheWarning(place, "corrupt", "it is no JSON");
  }
  if (!isRecord(json) || json["format"] !== "refl-kernels")
    throw new TuneCacheWarning(place, "foreign", "it is no table of kernel choices");
  if (json["version"] !== VERSION)
    throw new TuneCacheWarning(place, "foreign", `its form is version ${String(json["version"])}, not ${VERSION}`);
  const of = json["device"];
  if (!isRecord(of)) throw new TuneCacheWarning(place, "corrupt", "it names no device");
  for (const [name, value] of Object.entries(device))
    if (of[name] !== value)
      throw new TuneCacheWarning(
        place,
        "foreign",
        `its ${name} is ${JSON.stringify(of[name])}, this device's ${JSON.stringify(value)}`,
      );
  const entries = json["entries"];
  if (!isRecord(entries)) throw new TuneCacheWarning(place, "corrupt", "it has no entries");
  for (const [key, entry] of Object.entries(entries))
    if (!isEntry(entry)) throw new TuneCacheWarning(place, "corrupt", `its entry "${key}" is damaged`);
  return new Map(Object.entries(entries as Record<string, TuneEntry>));
}
