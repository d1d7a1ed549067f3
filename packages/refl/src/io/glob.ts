/** File patterns: `*` and `?` within a name, `**` over folders, `[a-c]` and `{one,two}`. */

/** Whether a path is a pattern and no plain name. */
export const isPattern = (path: string): boolean => /[*?[{]/.test(path);

/** The folder above all that a pattern can match, `.` for the present one, and the rest of the pattern. Paths have `/`. */
export function splitPattern(pattern: string): { readonly folder: string; readonly rest: string } {
  const parts = pattern.split("/");
  const first = parts.findIndex(isPattern);
  const fixed = parts.slice(0, first < 0 ? parts.length - 1 : first);
  const folder = fixed.length === 0 ? "." : fixed.join("/") || "/";
  return { folder, rest: parts.slice(first < 0 ? parts.length - 1 : first).join("/") };
}

/** `{a,b}` written out: one pattern for each choice. A brace without its partner stands for itself. */
function alternatives(pattern: string): string[] {
  const found = /\{([^{}]*)\}/.exec(pattern);
  if (!found) return [pattern];
  const [whole, choices] = found as unknown as [string, string];
  const [before, after] = [pattern.slice(0, found.index), pattern.slice(found.index + whole.length)];
  return choices.split(",").flatMap((choice) => alternatives(before + choice + after));
}

function expression(pattern: string): string {
  let text = "";
  for (let i = 0; i < pattern.length; i++) {
    const rest = pattern.slice(i);
    const set = /^\[(!?)([^\]/]+)\]/.exec(rest);
    if (rest.startsWith("**/")) {
      text += "(?:[^/]+/)*";
      i += 2;
    } else if (rest === "**") {
      text += ".*";
      i += 1;
    } else if (set) {
      text += `[${set[1] ? "^/" : ""}${set[2]!.replaceAll(/[\\^]/g, "\\$&")}]`;
      i += set[0].length - 1;
    } else if (rest[0] === "*") text += "[^/]*";
    else if (rest[0] === "?") text += "[^/]";
    else text += rest[0]!.replace(/[\\^$.|+()[\]{}]/, "\\$&");
  }
  return text;
}

/** Whether a path below the pattern's folder matches the rest of it. */
export function patternMatcher(pattern: string): (path: string) => boolean {
  const matcher = new RegExp(`^(?:${alternatives(pattern).map(expression).join("|")})$`);
  return (path) => matcher.test(path);
}
