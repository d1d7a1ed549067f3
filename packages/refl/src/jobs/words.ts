/** What a tokenizer loses of texts, told once: words that it does not know, and texts longer than the model reads. */
import { type Tokenizer, truncationWarning } from "@refl/models";
import type { WarningEvent } from "../events.ts";

/** Words named in a warning; a folder in another language has thousands. */
const MOST = 20;

/** A warning with the words of `texts` that the tokenizer lacks; `meaning` says what becomes of them. Nothing where it knows all. */
export function* unknownWords(
  tokenizer: Tokenizer,
  texts: Iterable<string>,
  meaning: string,
): Generator<WarningEvent, void, void> {
  const unknown = new Set<string>();
  for (const text of new Set(texts)) for (const word of tokenizer.encode(text).unknown) unknown.add(word);
  if (!unknown.size) return;
  const named = Array.from(unknown, (word) => `"${word}"`).slice(0, MOST);
  const more = unknown.size > MOST ? ` and ${unknown.size - MOST} more` : "";
  yield { type: "warning", message: `unknown words ${named.join(", ")}${more}: ${meaning}` };
}

/** A warning of texts that are longer than what the model reads of them. Nothing where none is. */
export function* cutTexts(tokenizer: Tokenizer, texts: Iterable<string>): Generator<WarningEvent, void, void> {
  const message = truncationWarning(tokenizer, [...new Set(texts)]);
  if (message) yield { type: "warning", message };
}
