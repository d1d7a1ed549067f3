/** Scores and ranks as text for other programs: JSON, and CSV as RFC 4180 has it. */
import type { RankedPicture, ScoredPicture } from "../jobs/score.ts";

type Cell = string | number;

/** Cells with commas, quotes or line ends are quoted; lines end with CRLF. */
export function formatCsv(header: readonly string[], rows: readonly (readonly Cell[])[]): string {
  const cell = (value: Cell): string => {
    const text = String(value);
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return [header, ...rows].map((row) => `${row.map(cell).join(",")}\r\n`).join("");
}

/** The columns `file`, `prompt`, `score` and, of a ranking, `rank`, or a JSON array of records with these keys. */
export function formatScores(scored: readonly (ScoredPicture | RankedPicture)[], format: "json" | "csv"): string {
  if (format === "json") return `${JSON.stringify(scored, null, 2)}\n`;
  const ranked = scored.some((picture) => "rank" in picture);
  const rows = scored.map((picture) => [
    picture.file,
    picture.prompt,
    picture.score,
    ...("rank" in picture ? [picture.rank] : []),
  ]);
  return formatCsv(["file", "prompt", "score", ...(ranked ? ["rank"] : [])], rows);
}
