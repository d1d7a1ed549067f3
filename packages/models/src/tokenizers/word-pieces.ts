/** BERT's way from text to words and from words to pieces (Devlin et al. 2019, arXiv 1810.04805; WordPiece by greedy longest match). */
import type { Vocabulary } from "./files.ts";
import { isPlain, lowerEach, wellFormed } from "./text-cleanup.ts";

/** Words of more characters than this are unknown as a whole. */
const MAX_WORD_CHARACTERS = 100;

/** Ideographs stand alone: the blocks of CJK unified ideographs, their extensions A to E and their compatibility forms. */
const IDEOGRAPH =
  /[\u4e00-\u9fff\u3400-\u4dbf\uf900-\ufaff\u{20000}-\u{2a6df}\u{2a700}-\u{2b73f}\u{2b740}-\u{2b81f}\u{2b820}-\u{2ceaf}\u{2f800}-\u{2fa1f}]/gu;
/** Removed: control, format, private and unassigned characters, and the replacement character; not tab and line ends, which are white space. */
const CONTROLS = /(?![\t\n\r])\p{C}|\ufffd/gu;
const WHITE_SPACE = /[\t\n\r\p{Zs}]/gu;
/** White space that is left parts words too. */
const SPACES = /\p{White_Space}+/u;
/** Everything of ASCII that is no letter, digit, blank or control, and Unicode's punctuation. */
const PUNCTUATION = /([!-/:-@[-`{-~\p{P}])/u;

export interface BasicTokenizerOptions {
  /** Lower case. Default true. */
  readonly lowercase?: boolean;
  /** Take accents off. Default: where letters are made lower case. */
  readonly stripAccents?: boolean;
  /** Part ideographs. Default true. */
  readonly ideographs?: boolean;
}

/** Words and single punctuation characters of a text. */
export function basicWords(text: string, options: BasicTokenizerOptions = {}): string[] {
  const { lowercase = true, stripAccents = lowercase, ideographs = true } = options;
  let clean = text;
  if (!isPlain(clean)) {
    clean = wellFormed(clean).replace(CONTROLS, "").replace(WHITE_SPACE, " ");
    if (ideographs) clean = clean.replace(IDEOGRAPH, " $& ");
  }
  if (lowercase) clean = lowerEach(clean);
  if (stripAccents && !isPlain(clean)) clean = clean.normalize("NFD").replace(/\p{Mn}/gu, "");
  return clean
    .split(SPACES)
    .flatMap((word) => word.split(PUNCTUATION))
    .filter((word) => word !== "");
}

/** The pieces of a word by greedy longest match, `##` before all but the first; `null` when some part fits no piece. */
export function wordPieces(word: string, vocab: Vocabulary, longest: number): number[] | null {
  const characters = Array.from(word);
  if (characters.length > MAX_WORD_CHARACTERS) return null;
  const ids: number[] = [];
  for (let start = 0; start < characters.length; ) {
    const prefix = start > 0 ? "##" : "";
    let end = Math.min(characters.length, start + longest);
    let id: number | undefined;
    for (; end > start; end--) {
      id = vocab.get(prefix + characters.slice(start, end).join(""));
      if (id !== undefined) break;
    }
    if (id === undefined) return null;
    ids.push(id);
    start = end;
  }
  return ids;
}
