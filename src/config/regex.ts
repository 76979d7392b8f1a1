import { errorText } from '../base/errors.ts';
import type { HealthCheck } from '../model/health-check.ts';
import type { Route } from '../model/route.ts';

type Report = (path: PropertyKey[], message: string) => void;

const MAX_REGEX = 1000;
/** Escapes, character classes and quantifiers are one token each; all else is a character. */
const TOKEN = /\\.|\[(?:\\.|[^\]\\])*\]|\{\d+,?\d*\}|\((?:\?:)?|./gs;
const REPEAT = /^(?:[*+]|\{\d+,?\d*\})$/;
const REFERENCE = /\\[1-9k]|\(\?[=!<]/;

/**
 * Whether matching could take exponential time: references, look-around, or a repeated group that
 * itself holds a repetition or a choice. Refuses some harmless expressions too.
 */
export function isRiskyRegex(regex: string): boolean {
  if (REFERENCE.test(regex)) return true;
  const open: boolean[] = [false];
  let closed = false;
  for (const [token] of regex.matchAll(TOKEN)) {
    const repeats = REPEAT.test(token);
    if (repeats && closed) return true;
    closed = false;
    if (token.startsWith('(')) open.push(false);
    else if (token === ')' && open.length > 1) {
      closed = open.pop() ?? false;
      if (closed) open[open.length - 1] = true;
    } else if (repeats || token === '?' || token === '|') open[open.length - 1] = true;
  }
  return false;
}

function checkRegex(regex: string, path: PropertyKey[], report: Report): void {
  if (regex.length > MAX_REGEX) report(path, `a regex has at most ${MAX_REGEX} characters`);
  else if (isRiskyRegex(regex)) {
    report(
      path,
      'a regex that repeats a group with a repetition or a choice in it, or has references or look-around, could take for ever',
    );
  } else {
    try {
      new RegExp(regex);
    } catch (error) {
      report(path, errorText(error));
    }
  }
}

/** Refuses a route's expressions that are not valid or could take exponential time. */
export function checkRouteRegexes(route: Route, path: PropertyKey[], report: Report): void {
  for (const [index, pattern] of (route.match?.path ?? []).entries()) {
    if (typeof pattern === 'string') continue;
    checkRegex(pattern.regex, [...path, 'match', 'path', index], report);
  }
  for (const kind of ['header', 'query'] as const) {
    for (const [name, pattern] of Object.entries(route.match?.[kind] ?? {})) {
      if (typeof pattern === 'object' && 'regex' in pattern) {
        checkRegex(pattern.regex, [...path, 'match', kind, name], report);
      }
    }
  }
  const rewrite = route.rewrite?.regex;
  if (rewrite) checkRegex(rewrite.match, [...path, 'rewrite', 'regex', 'match'], report);
}

/** The same for what a health check expects. */
export function checkHealthRegex(health: HealthCheck, path: PropertyKey[], report: Report): void {
  if (!('expect' in health)) return;
  const { expect } = health;
  if (typeof expect === 'object' && 'regex' in expect) {
    checkRegex(expect.regex, [...path, 'expect'], report);
  } else if (typeof expect === 'object' && typeof expect.body === 'object') {
    checkRegex(expect.body.regex, [...path, 'expect', 'body'], report);
  }
}
