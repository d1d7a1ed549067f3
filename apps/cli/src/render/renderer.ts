/** How events are shown: as JSON lines, as a redrawn progress line, or as plain lines. */
import type { RunEvent } from "@refl/refl";
import { eventToJson } from "@refl/refl";
import type { Terminal } from "../terminal.ts";
import { TextRenderer } from "./text.ts";

/** Shows the events of one command. */
export interface Renderer {
  event(event: RunEvent): void;
  /** Leaves the terminal in order: the cursor on a new line. Called once, also after errors. */
  close(): void;
}

/** The renderer that fits the terminal and the user's wish. */
export function createRenderer(terminal: Terminal, json: boolean): Renderer {
  if (json) return { event: (event) => terminal.stdout(eventToJson(event) + "\n"), close() {} };
  return new TextRenderer(terminal);
}
