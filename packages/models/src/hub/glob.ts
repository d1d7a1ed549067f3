/** Wildcards for file names in a model, as the hub's own client reads them: Python's `fnmatch`, whose `*` crosses `/`. */

/** Whether a text is a pattern, not the name of one file: it has a wildcard, or names a folder by a `/` at its end. */
export function isPattern(text: string): boolean {
  return /[*?[]|\/$/.test(text);
}

const quote = (text: string): string => text.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&");

/** The end of the set that begins with `[` at `start`, or -1 where the bracket stands for itself. A `]` right at the beginning is a member. */
function setEnd(pattern: string, start: number): number {
  const first = start + (pattern[start + 1] === "!" ? 2 : 1);
  return pattern.indexOf("]", first + 1);
}

function setSource(members: string): string {
  const negative = members.startsWith("!");
  const body = [...members.slice(negative ? 1 : 0)];
  let source = "";
  for (let i = 0; i < body.length; i++) {
    const [low, dash, high] = [body[i]!, body[i + 1], body[i + 2]];
    if (dash !== "-" || high === undefined) source += quote(low);
    else {
      // A range that runs backwards has no members.
      if (low <= high) source += `${quote(low)}-${quote(high)}`;
      i += 2;
    }
  }
  if (source === "") return negative ? "[^]" : "[]";
  return `[${negative ? "^" : ""}${source}]`;
}

function compile(glob: string): RegExp {
  const pattern = glob.endsWith("/") ? `${glob}*` : glob;
  let source = "";
  for (let i = 0; i < pattern.length; i++) {
    const character = pattern[i]!;
    const end = character === "[" ? setEnd(pattern, i) : -1;
    if (end >= 0) {
      source += setSource(pattern.slice(i + 1, end));
      i = end;
    } else if (character === "*") {
      while (pattern[i + 1] === "*") i++;
      source += "[^]*";
    } else source += character === "?" ? "[^]" : quote(character);
  }
  return new RegExp(`^${source}$`);
}

/**
 * A test of file names against any of the patterns: `*` any characters, `/` among them, `?` one character, `[abc]`, `[a-z]`, `[!a]` a set;
 * `folder/` means all in it. Upper and lower case differ.
 */
export function matcher(patterns: readonly string[]): (name: string) => boolean {
  const expressions = patterns.map(compile);
  return (name) => expressions.some((expression) => expression.test(name));
}
