import type { GatewayConfig } from '../model/gateway-config.ts';
import { redact, secretPlaces } from './resolve.ts';

const MAX_LINES = 20;
const MAX_VALUE = 60;
/** What a daemon takes up when it starts, and never after. */
export const AT_START = ['agent', 'user', 'group'] as const;
const TAKES_A_START: ReadonlySet<string> = new Set(AT_START);

/**
 * What applying a configuration would change, a line an object and below it a line a value; empty
 * when nothing would. Secrets are compared where both are known, and never shown.
 */
export function planChange(before: GatewayConfig, after: GatewayConfig): string[] {
  const [old, next] = [plain(before), plain(after)];
  const secrets = changedSecrets(before, after);
  const lines: string[] = [];
  const add = (head: string, path: string[], a: unknown, b: unknown, note: string) => {
    const values = [
      ...changes(a, b, ''),
      ...secrets
        .filter((secret) => path.every((step, index) => String(secret[index]) === step))
        .map((secret) => `${secret.slice(path.length).join('.')}: another secret`),
    ];
    if (values.length === 0) return;
    lines.push(`~ ${head}${note}`, ...values.slice(0, MAX_LINES).map((line) => `    ${line}`));
    if (values.length > MAX_LINES) lines.push(`    and ${values.length - MAX_LINES} more`);
  };
  for (const kind of ['listeners', 'services'] as const) {
    const names = new Set([...Object.keys(before[kind]), ...Object.keys(after[kind])]);
    for (const name of [...names].sort()) {
      const what = `${kind.slice(0, -1)} ${name}`;
      if (!(name in before[kind])) lines.push(`+ ${what}`);
      else if (!(name in after[kind])) lines.push(`- ${what}: takes no new work and drains`);
      else add(what, [kind, name], old[kind][name], next[kind][name], ': connections stay');
    }
  }
  for (const key of new Set([...Object.keys(old), ...Object.keys(next)])) {
    if (key === 'listeners' || key === 'services') continue;
    const name = key as keyof GatewayConfig;
    add(
      key,
      [key],
      old[name],
      next[name],
      TAKES_A_START.has(key) ? ': takes an upgrade or a restart' : '',
    );
  }
  return lines;
}

/** As JSON gives it back, so that both sides have the same form. */
function plain(config: GatewayConfig): GatewayConfig {
  return JSON.parse(JSON.stringify(redact(config)));
}

function changedSecrets(before: GatewayConfig, after: GatewayConfig): PropertyKey[][] {
  const known = new Map(
    secretPlaces(before).map(({ path, secret }) => [JSON.stringify(path), secret]),
  );
  return secretPlaces(after)
    .filter(({ path, secret }) => {
      const old = known.get(JSON.stringify(path));
      // One side that is redacted already says nothing of the other.
      return old !== undefined && old !== '[redacted]' && secret !== '[redacted]' && old !== secret;
    })
    .map(({ path }) => path);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

function changes(a: unknown, b: unknown, path: string): string[] {
  const same = isObject(a) && isObject(b) && Array.isArray(a) === Array.isArray(b);
  if (!same || (Array.isArray(a) && Array.isArray(b) && a.length !== b.length)) {
    if (JSON.stringify(a) === JSON.stringify(b)) return [];
    return [`${path === '' ? '' : `${path}: `}${brief(a)} → ${brief(b)}`];
  }
  return [...new Set([...Object.keys(a), ...Object.keys(b)])].flatMap((key) =>
    changes(a[key], b[key], path === '' ? key : `${path}.${key}`),
  );
}

function brief(value: unknown): string {
  if (value === undefined) return '(none)';
  if (Array.isArray(value) && JSON.stringify(value).length > MAX_VALUE) {
    return `${value.length} entries`;
  }
  const text = JSON.stringify(value);
  return text.length > MAX_VALUE ? `${text.slice(0, MAX_VALUE)}…` : text;
}
