import type { GatewayConfig } from '../model/gateway-config.ts';

function changedKeys(before: unknown, after: unknown): string[] {
  const [a, b] = [before, after].map((value) => (value ?? {}) as Record<string, unknown>);
  const keys = new Set([...Object.keys(a ?? {}), ...Object.keys(b ?? {})]);
  return [...keys].filter((key) => JSON.stringify(a?.[key]) !== JSON.stringify(b?.[key]));
}

/** What applying a configuration would change, a line an object; empty when nothing would. */
export function planChange(before: GatewayConfig, after: GatewayConfig): string[] {
  const lines: string[] = [];
  for (const kind of ['listeners', 'services'] as const) {
    const names = new Set([...Object.keys(before[kind]), ...Object.keys(after[kind])]);
    for (const name of [...names].sort()) {
      const what = `${kind.slice(0, -1)} ${name}`;
      if (!(name in before[kind])) lines.push(`+ ${what}`);
      else if (!(name in after[kind])) lines.push(`- ${what}: takes no new work and drains`);
      else {
        const keys = changedKeys(before[kind][name], after[kind][name]);
        if (keys.length > 0) lines.push(`~ ${what}: ${keys.join(', ')}; connections stay`);
      }
    }
  }
  const restart = new Set(['admin', 'workers', 'user', 'group', 'demo', 'tickets']);
  for (const key of changedKeys(before, after)) {
    if (key === 'listeners' || key === 'services') continue;
    lines.push(`~ ${key}${restart.has(key) ? ': takes a restart' : ''}`);
  }
  return lines;
}
