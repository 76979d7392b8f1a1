import type { Supervisor } from '../gateway/supervisor/supervisor.ts';
import { formatBind } from '../model/address.ts';
import type { GatewayConfig } from '../model/gateway-config.ts';

const USUAL_ADMIN = '127.0.0.1:9900';

/** Prints what listens where, and what to try next. */
export function printBanner(config: GatewayConfig, supervisor: Supervisor): void {
  const lines = ['', `Sluice serves with ${supervisor.workers.length} workers.`, ''];
  for (const [name, listener] of Object.entries(config.listeners)) {
    const where = listener.bind.map(formatBind).join(', ');
    const target = listener.service ? ` → ${listener.service}` : '';
    lines.push(`  ${listener.protocol.padEnd(15)} ${where.padEnd(24)} ${name}${target}`);
  }
  const admin = config.admin?.bind.map(formatBind)[0];
  if (admin) lines.push(`  ${'admin'.padEnd(15)} ${admin}`);
  lines.push('', 'Try next:');
  const http = Object.values(config.listeners).find(({ protocol }) => protocol === 'http');
  const first = http?.bind.find((bind) => bind.kind === 'ip');
  if (first) lines.push(`  curl http://${formatBind(first).replace(/^:/, '127.0.0.1:')}/`);
  if (admin?.startsWith('unix:')) lines.push(`  npx sluice --admin ${admin} status`);
  else if (admin) {
    const url = `http://${admin.replace(/^:/, '127.0.0.1:')}`;
    const option = admin === USUAL_ADMIN ? '' : ` --admin ${url}`;
    lines.push(`  curl ${url}/metrics`, `  npx sluice${option} status`);
  }
  process.stdout.write(`${lines.join('\n')}\n\n`);
}
