import { RE2JS } from 're2js';

const MAX_REGEX = 1000;
const MAX_COMPILED = 10_000;

/** A regular expression whose time grows with the text alone, whatever the expression. */
export type LinearRegex = {
  /** Whether it matches anywhere in the text. */
  readonly test: (text: string) => boolean;
  /** Replaces the first match; `$1` to `$99`, `$<name>`, `$&` and `$$` as in JavaScript. */
  readonly replace: (text: string, replacement: string) => string;
};

/**
 * Compiles RE2 syntax: no back references and no look-around. Throws an error that says what is
 * wrong. Source: RE2 syntax, github.com/google/re2/wiki/Syntax.
 */
export function linearRegex(source: string): LinearRegex {
  if (source.length > MAX_REGEX) {
    throw new Error(`a regex has at most ${MAX_REGEX} characters`);
  }
  const compiled = RE2JS.compile(source);
  const names = compiled.namedGroups();
  return {
    test: (text) => compiled.matcher(text).find(),
    replace: (text, replacement) => {
      const matcher = compiled.matcher(text);
      if (!matcher.find()) return text;
      const groups = matcher.groupCount();
      const filled = replacement.replaceAll(
        /\$(?:(\$)|(&)|(\d{1,2})|<(\w+)>)/g,
        (whole, dollar, all, digits, name) => {
          if (dollar) return '$';
          const group = all ? 0 : digits ? Number(digits) : names[name];
          if (group === undefined || group > groups) return whole;
          return matcher.group(group) ?? '';
        },
      );
      return text.slice(0, matcher.start()) + filled + text.slice(matcher.end());
    },
  };
}

const known = new Map<string, LinearRegex>();

/** The same, kept for the next use; for expressions of the configuration. */
export function keptRegex(source: string): LinearRegex {
  let regex = known.get(source);
  if (!regex) {
    if (known.size >= MAX_COMPILED) known.clear();
    regex = linearRegex(source);
    known.set(source, regex);
  }
  return regex;
}
