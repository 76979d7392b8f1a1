import { errorText } from '../base/errors.ts';
import { linearRegex } from '../base/regex.ts';
import type { HealthCheck } from '../model/health-check.ts';
import type { HeaderEdits, Match, Route } from '../model/route.ts';

type Report = (path: PropertyKey[], message: string) => void;

function checkRegex(regex: string, path: PropertyKey[], report: Report): void {
  try {
    linearRegex(regex);
  } catch (error) {
    report(
      path,
      `${errorText(error)}; valid is RE2 syntax, without back references and look-around`,
    );
  }
}

function checkMatch(match: Omit<Match, 'not'>, path: PropertyKey[], report: Report): void {
  for (const kind of ['host', 'path'] as const) {
    for (const [index, pattern] of (match[kind] ?? []).entries()) {
      if (typeof pattern !== 'string') checkRegex(pattern.regex, [...path, kind, index], report);
    }
  }
  for (const kind of ['header', 'query', 'cookie'] as const) {
    for (const [name, pattern] of Object.entries(match[kind] ?? {})) {
      if (typeof pattern === 'object' && 'regex' in pattern) {
        checkRegex(pattern.regex, [...path, kind, name], report);
      }
    }
  }
}

/** Refuses a route's expressions that are not valid or cannot be matched in linear time. */
export function checkRouteRegexes(route: Route, path: PropertyKey[], report: Report): void {
  if (route.match) {
    const { not, ...match } = route.match;
    checkMatch(match, [...path, 'match'], report);
    for (const one of not ?? []) checkMatch(one, [...path, 'match', 'not'], report);
  }
  const redirect = route.redirect?.regex;
  if (redirect !== undefined) checkRegex(redirect, [...path, 'redirect', 'regex'], report);
  const rewrite = route.rewrite?.regex;
  if (rewrite) checkRegex(rewrite.match, [...path, 'rewrite', 'regex', 'match'], report);
  const { request, response = [] } = route.headers ?? {};
  checkReplace(request, [...path, 'headers', 'request'], report);
  for (const one of response) checkReplace(one, [...path, 'headers', 'response'], report);
}

function checkReplace(edits: HeaderEdits | undefined, path: PropertyKey[], report: Report): void {
  for (const [name, { match }] of Object.entries(edits?.replace ?? {})) {
    checkRegex(match, [...path, 'replace', name, 'match'], report);
  }
}

/** The same for what a health check expects. */
export function checkHealthRegex(health: HealthCheck, path: PropertyKey[], report: Report): void {
  const turns = 'more' in health ? (health.more ?? []) : [];
  for (const [index, { expect }] of turns.entries()) {
    if (typeof expect !== 'object') continue;
    checkRegex(expect.regex, [...path, 'more', index, 'expect'], report);
  }
  if (!('expect' in health)) return;
  const { expect } = health;
  if (typeof expect === 'object' && 'regex' in expect) {
    checkRegex(expect.regex, [...path, 'expect'], report);
  } else if (typeof expect === 'object' && typeof expect.body === 'object') {
    checkRegex(expect.body.regex, [...path, 'expect', 'body'], report);
  }
}
