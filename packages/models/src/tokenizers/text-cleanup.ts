/** How CLIP's tokenizers tidy a text before they split it: the three ways that released models were trained and are run with. */

/**
 * `nfc`: Unicode composition, white space to single blanks, lower case; `CLIPTokenizerFast`, and `CLIPTokenizer` of transformers 5.
 * `ftfy`: the ftfy library's repairs instead of composition alone; `CLIPTokenizer` of transformers 4 where ftfy is installed.
 * `openai`: as `ftfy`, then HTML entities resolved twice; the `clip` package.
 */
export type TextCleanup = "nfc" | "ftfy" | "openai";

const SPACES = /\p{White_Space}+/gu;

const LIGATURES: Readonly<Record<string, string>> = {
  Ĳ: "IJ",
  ĳ: "ij",
  ŉ: "ʼn",
  Ǳ: "DZ",
  ǲ: "Dz",
  ǳ: "dz",
  Ǆ: "DŽ",
  ǅ: "Dž",
  ǆ: "dž",
  Ǉ: "LJ",
  ǈ: "Lj",
  ǉ: "lj",
  Ǌ: "NJ",
  ǋ: "Nj",
  ǌ: "nj",
  ﬀ: "ff",
  ﬁ: "fi",
  ﬂ: "fl",
  ﬃ: "ffi",
  ﬄ: "ffl",
  ﬅ: "ſt",
  ﬆ: "st",
};
const LIGATURE = new RegExp(`[${Object.keys(LIGATURES).join("")}]`, "gu");

/** What windows-1252 has at 0x80 to 0x9f; its five holes stay control characters. */
const WINDOWS_1252 = "€\x81‚ƒ„…†‡ˆ‰Š‹Œ\x8dŽ\x8f\x90‘’“”•–—˜™š›œ\x9džŸ";

/** The entities that texts from the web really have; rarer names stay as they are. */
const ENTITIES: Readonly<Record<string, string>> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0" };
const ENTITY = /&(?:#(\d{1,7})|#[xX]([0-9a-fA-F]{1,6})|(amp|lt|gt|quot|apos|nbsp));/g;

function characterOf(code: number): string {
  if (code === 0 || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return "\ufffd";
  return code >= 0x80 && code < 0xa0 ? (WINDOWS_1252[code - 0x80] as string) : String.fromCodePoint(code);
}

function unescapeHtml(text: string): string {
  return text.replace(ENTITY, (_, decimal?: string, hexadecimal?: string, name?: string) => {
    if (name !== undefined) return ENTITIES[name] as string;
    return characterOf(decimal === undefined ? Number.parseInt(hexadecimal as string, 16) : Number(decimal));
  });
}

const ESCAPE = "\u001b";
/** What colours a terminal. */
const ANSI_ESCAPE = new RegExp(`${ESCAPE}\\[[\\d;]*[a-zA-Z]`, "g");
/** Controls but for white space and those above 0x7f, and invisible characters that no text needs. */
const CONTROLS = /(?![\t\n\f\r\u0080-\u009f])\p{Cc}|[\u206a-\u206f\ufeff\ufff9-\ufffc]/gu;

/** Whether a text is printable ASCII alone, as most prompts are: no rule for other characters applies. */
export function isPlain(text: string): boolean {
  return /^[ -~]*$/.test(text);
}

/** Lone surrogates as replacement characters, as UTF-8 would have them. */
export function wellFormed(text: string): string {
  return text.replace(/\p{Cs}/gu, "\ufffd");
}

/** Lower case character by character, as the tokenizers library has it: a capital sigma becomes σ at a word's end too. */
export function lowerEach(text: string): string {
  return isPlain(text) ? text.toLowerCase() : Array.from(text, (character) => character.toLowerCase()).join("");
}

function repairOnce(text: string, html: boolean): string {
  return (html ? unescapeHtml(text) : text)
    .replace(ANSI_ESCAPE, "")
    .replace(/[\u0080-\u009f]/g, (control) => characterOf(control.charCodeAt(0)))
    .replace(LIGATURE, (ligature) => LIGATURES[ligature] as string)
    .replace(/[\u3000\uff01-\uffef]/g, (wide) => wide.normalize("NFKC"))
    .replace(/[\u201c-\u201f]/g, '"')
    .replace(/[\u02bc\u2018-\u201b]/g, "'")
    .replace(/\r\n?|[\u2028\u2029]/g, "\n")
    .replace(CONTROLS, "")
    .normalize("NFC");
}

/**
 * What ftfy 6's `fix_text` makes of a text, except that text decoded with a wrong encoding (mojibake) is left as it is and only the six
 * commonest HTML entities are known by name.
 */
export function repairText(text: string): string {
  if (isPlain(text) && !text.includes("&")) return text;
  // A text with tags means its entities.
  const html = !text.includes("<");
  let now = wellFormed(text);
  for (;;) {
    const next = repairOnce(now, html);
    if (next === now) return now;
    now = next;
  }
}

/** The text that is split into words, in lower case. */
export function cleanText(text: string, cleanup: TextCleanup): string {
  switch (cleanup) {
    case "nfc":
      return lowerEach(wellFormed(text).normalize("NFC").replace(SPACES, " "));
    case "ftfy":
      return repairText(text).replace(SPACES, " ").trim().toLowerCase();
    case "openai":
      return unescapeHtml(unescapeHtml(repairText(text)))
        .replace(SPACES, " ")
        .trim()
        .toLowerCase();
  }
}
