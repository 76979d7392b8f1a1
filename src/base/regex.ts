import { RE2JS } from 're2js';

const MAX_REGEX = 1000;
const MAX_COMPILED = 10_000;

/** A regular expression whose time grows with the text alone, whatever the expression. */
export type LinearRegex = {
  /** Whether it matches anywhere in the text. */
  readonly test: (text: string) => boolean;
  /** The replacement alone, filled with the groups of the first match, which are empty without one. */
  readonly expand: (text: string, replacement: string) => string;
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
  const fill = (replacement: string, groups: number, read: (group: number) => string) =>
    replacement.replaceAll(
      /\$(?:(\$)|(&)|(\d{1,2})|<(\w+)>)/g,
      (whole, dollar, all, digits, name) => {
        if (dollar) return '$';
        const group = all ? 0 : digits ? Number(digits) : names[name];
        return group === undefined || group > groups ? whole : read(group);
      },
    );
  return {
    test: (text) => compiled.matcher(text).find(),
    expand: (text, replacement) => {
      const matcher = compiled.matcher(text);
      const found = matcher.find();
      return fill(replacement, matcher.groupCount(), (group) =>
        found ? (matcher.group(group) ?? '') : '',
      );
    },
    replace: (text, replacement) => {
      const matcher = compiled.matcher(text);
      if (!matcher.find()) return text;
      const filled = fill(replacement, matcher.groupCount(), (group) => matcher.group(group) ?? '');
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

/** The text as a regular expression that matches it and nothing else. */
export function quoted(text: string): string {
  return text.replaceAll(/[\\^$.*+?()[\]{}|]/g, '\\$&');
}
