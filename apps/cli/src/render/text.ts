/** Events as text: one progress line that is redrawn in a terminal, or plain lines at a calm pace where there is none. */
import type { RunEvent, StageEvent, StageName, StepEvent } from "@refl/refl";
import pc from "picocolors";
import type { Terminal } from "../terminal.ts";
import { formatBytes, formatClock, formatNumber, formatRate, formatSeconds, formatTable } from "./format.ts";
import { ProgressMeter, type ProgressState } from "./progress.ts";
import type { Renderer } from "./renderer.ts";

/** Milliseconds between plain progress lines. */
const PLAIN_INTERVAL = 5000;

/** Milliseconds between redraws of the progress line. */
const REDRAW_INTERVAL = 100;

const BAR_WIDTH = 20;

/** Metrics that the progress line shows beside loss and learning rate, with their short names. */
const SHOWN: readonly (readonly [metric: string, name: string])[] = [
  ["reward", "reward"],
  ["judge", "judge"],
  ["accuracy", "acc"],
];

const TITLES: Readonly<Record<StageName, string>> = {
  pull: "fetch",
  device: "device",
  load: "load",
  data: "data",
  compile: "compile shaders",
  pretrain: "pre-train BLIP",
  base: "base model",
  generate: "draw pictures",
  annotate: "annotate",
  reward: "reward model",
  refl: "ReFL",
  control: "control",
  sample: "sample",
  score: "score",
  evaluate: "evaluate",
  report: "report",
};

const ANSI = new RegExp(`${String.fromCharCode(27)}\\[[0-9;]*m`, "g");

/** Cuts to a visible width, so that a progress line never wraps; a cut line loses its colours. */
function fit(line: string, width: number): string {
  const plain = line.replaceAll(ANSI, "");
  return plain.length <= width ? line : `${plain.slice(0, Math.max(0, width - 1))}…`;
}

/** Text on stderr for progress, notes and warnings; tables on stdout. */
export class TextRenderer implements Renderer {
  readonly #terminal: Terminal;
  readonly #colors: ReturnType<typeof pc.createColors>;
  readonly #meters = new Map<StageName, ProgressMeter>();
  /** Whether the cursor stands on a progress line that the next output must replace. */
  #lineOpen = false;
  #lastDraw = Number.NEGATIVE_INFINITY;

  constructor(terminal: Terminal) {
    this.#terminal = terminal;
    this.#colors = pc.createColors(terminal.color);
  }

  event(event: RunEvent): void {
    const c = this.#colors;
    switch (event.type) {
      case "stage":
        this.#begin(event);
        break;
      case "stage-end":
        this.#meters.delete(event.stage);
        this.#say(`${c.green("✓")} ${TITLES[event.stage]} ${c.dim(formatSeconds(event.seconds))}`);
        break;
      case "step":
        this.#step(event);
        break;
      case "checkpoint":
        this.#say(c.dim(`  saved ${event.path}`));
        break;
      case "warning":
        this.#say(`${c.yellow("warning:")} ${event.message}`);
        break;
      case "note":
        this.#say(event.message);
        break;
      case "table":
        this.#clear();
        this.#terminal.stdout(`\n${event.title}\n\n${formatTable(event.header, event.rows)}\n\n`);
        break;
      case "samples":
      case "result":
        break;
    }
  }

  close(): void {
    if (this.#lineOpen) this.#terminal.stderr("\n");
    this.#lineOpen = false;
  }

  #begin(event: StageEvent): void {
    this.#meters.set(event.stage, new ProgressMeter(this.#terminal.now()));
    this.#lastDraw = Number.NEGATIVE_INFINITY;
    const text = `${this.#colors.cyan("•")} ${TITLES[event.stage]}${event.message ? `: ${event.message}` : ""}`;
    // Drivers write lines of their own while a device is made: an open line would run into them.
    if (this.#terminal.interactive && event.stage !== "device") this.#draw(text);
    else this.#say(text);
  }

  #step(event: StepEvent): void {
    const now = this.#terminal.now();
    let meter = this.#meters.get(event.stage);
    if (!meter) this.#meters.set(event.stage, (meter = new ProgressMeter(now)));
    const state = meter.step(event, now);
    const due = now - this.#lastDraw >= (this.#terminal.interactive ? REDRAW_INTERVAL : PLAIN_INTERVAL);
    if (!due && event.step !== event.total) return;
    this.#lastDraw = now;
    const line = this.#progressLine(event, state);
    if (this.#terminal.interactive) this.#draw(line);
    else this.#say(line);
  }

  #progressLine(event: StepEvent, state: ProgressState): string {
    const c = this.#colors;
    const { metrics } = event;
    const count = event.unit === "byte" ? formatBytes : String;
    const parts = [`${count(event.step)}/${count(event.total)}`];
    if (state.rate !== undefined)
      parts.push(event.unit === "byte" ? `${formatBytes(Math.round(state.rate))}/s` : formatRate(state.rate));
    if (state.loss !== undefined) parts.push(`loss ${formatNumber(state.loss)}`);
    for (const [metric, name] of SHOWN)
      if (metrics[metric] !== undefined) parts.push(`${name} ${formatNumber(metrics[metric])}`);
    if (metrics["lr"] !== undefined) parts.push(`lr ${formatNumber(metrics["lr"])}`);
    if (metrics["memoryBytes"] !== undefined) parts.push(formatBytes(metrics["memoryBytes"]));
    parts.push(`${formatClock(state.elapsed)} elapsed`);
    if (state.eta !== undefined) parts.push(`${formatClock(state.eta)} left`);
    const text = parts.join("  ");
    if (!this.#terminal.interactive) return `  ${TITLES[event.stage]} ${text}`;
    const filled = Math.round((BAR_WIDTH * event.step) / Math.max(1, event.total));
    const bar = c.cyan("━".repeat(filled)) + c.dim("─".repeat(Math.max(0, BAR_WIDTH - filled)));
    return `${c.cyan("•")} ${TITLES[event.stage]} ${bar} ${text}`;
  }

  #draw(line: string): void {
    this.#terminal.stderr(`\r\u001b[2K${fit(line, this.#terminal.columns - 1)}`);
    this.#lineOpen = true;
  }

  #clear(): void {
    if (this.#lineOpen) this.#terminal.stderr("\r\u001b[2K");
    this.#lineOpen = false;
  }

  #say(line: string): void {
    this.#clear();
    this.#terminal.stderr(`${line}\n`);
  }
}
