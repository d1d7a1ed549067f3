/** Finds the modules that a TypeScript or JavaScript text names in its imports, type imports included, without running or resolving anything. */

/** Characters after which a slash begins a regular expression and not a division. */
const BEFORE_REGEX = new Set([..."(,=:[!&|?{};+-*%~^<>\n"]);
const WORDS_BEFORE_REGEX = /\b(?:return|typeof|case|in|of|do|else|void|delete|throw|new|await|yield)\s*$/;

/** The text with comments blanked, and `code`, where strings, templates and regular expressions are blanked too; offsets stay the same. */
export function blankComments(text) {
  const withStrings = [...text];
  const code = [...text];
  const blank = (target, from, to) => {
    for (let i = from; i < to; i++) if (target[i] !== "\n") target[i] = " ";
  };
  // Each open template remembers how deep in braces its current ${…} began.
  const templates = [];
  let braces = 0;
  let last = "\n";
  let i = 0;
  const template = () => {
    const start = i;
    while (i < text.length && text[i] !== "`" && !(text[i] === "$" && text[i + 1] === "{"))
      i += text[i] === "\\" ? 2 : 1;
    blank(code, start, Math.min(i, text.length));
    if (text[i] === "$") {
      templates.push(braces);
      braces++;
      i += 2;
      last = "{";
    } else {
      i++;
      last = "`";
    }
  };
  while (i < text.length) {
    const char = text[i];
    const next = text[i + 1];
    if (char === "/" && (next === "/" || next === "*")) {
      const close = next === "/" ? text.indexOf("\n", i) : text.indexOf("*/", i + 2);
      const end = close < 0 ? text.length : next === "/" ? close : close + 2;
      blank(withStrings, i, end);
      blank(code, i, end);
      i = end;
    } else if (char === '"' || char === "'") {
      const start = i++;
      while (i < text.length && text[i] !== char && text[i] !== "\n") i += text[i] === "\\" ? 2 : 1;
      i++;
      blank(code, start + 1, Math.min(i - 1, text.length));
      last = char;
    } else if (char === "`") {
      i++;
      template();
    } else if (
      char === "/" &&
      (BEFORE_REGEX.has(last) || WORDS_BEFORE_REGEX.test(text.slice(Math.max(0, i - 12), i)))
    ) {
      const start = i++;
      let inClass = false;
      while (i < text.length && text[i] !== "\n" && (inClass || text[i] !== "/")) {
        if (text[i] === "\\") i++;
        else if (text[i] === "[") inClass = true;
        else if (text[i] === "]") inClass = false;
        i++;
      }
      i++;
      blank(withStrings, start + 1, i - 1);
      blank(code, start + 1, i - 1);
      last = "/";
    } else {
      if (char === "{") braces++;
      if (char === "}") {
        braces--;
        if (templates.at(-1) === braces) {
          templates.pop();
          i++;
          template();
          continue;
        }
      }
      if (!/\s/.test(char)) last = char;
      i++;
    }
  }
  return { withStrings: withStrings.join(""), code: code.join("") };
}

const IMPORTS =
  /(?:\b(?:import|export)\b[^'"`;()=]*?\bfrom\s*|\bimport\s*(?=["'])|\b(?:import|require)\s*\(\s*)(["'])([^"'\n]+)\1/g;

/** Every module that `text` imports, re-exports, or names in `import()` or `require()`: `{specifier, line}` in order. */
export function findImports(text) {
  const { withStrings, code } = blankComments(text);
  const found = [];
  for (const match of withStrings.matchAll(IMPORTS)) {
    // The keyword must be code: a string may quote an import.
    const keyword = code.slice(match.index, match.index + 6);
    if (!/^(?:import|export|requir)/.test(keyword)) continue;
    found.push({ specifier: match[2], line: text.slice(0, match.index + match[0].length).split("\n").length });
  }
  return found;
}

/** The lines on which `text` uses the global `process`. */
export function findProcessUses(text) {
  const { code } = blankComments(text);
  const lines = [];
  for (const match of code.matchAll(/(?<![.\w$])(?:globalThis\s*\??\.\s*)?process\s*(?:\?\.|\.|\[)/g)) {
    lines.push(code.slice(0, match.index).split("\n").length);
  }
  return lines;
}
