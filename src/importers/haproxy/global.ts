import type { GatewayConfigInput } from '../../model/gateway-config.ts';
import type { Work } from './proxy.ts';
import { compact, duration, parseCount, parseTime } from './values.ts';

type LogInput = NonNullable<GatewayConfigInput['log']>;

/** What `global` says for the whole gateway, and the log that its proxies ask for. */
export function globalSettings(work: Work): Omit<GatewayConfigInput, 'listeners' | 'services'> {
  const { global } = work;
  const workers = parseCount(global.words('nbthread')[0] ?? global.words('nbproc')[0]);
  const [user] = global.words('user');
  const [group] = global.words('group');
  const stop = parseTime(global.words('hard-stop-after')[0]);
  return compact({
    workers: workers || undefined,
    user,
    group: user === undefined ? undefined : group,
    shutdown: stop ? { timeout: duration(stop) } : undefined,
    log: logOf(work),
  });
}

/** One access log for all, in the form that the first proxy asks for. */
function logOf({ global, proxies, reporter }: Work): LogInput | undefined {
  const logging = proxies.filter(
    ({ kind, statements }) => kind !== 'backend' && statements.has('log'),
  );
  if (logging.length === 0) return undefined;
  const targets = [
    ...global.all('log'),
    ...logging.flatMap(({ statements }) => statements.all('log')),
  ];
  for (const { words, text, line } of targets) {
    const [, target = ''] = words;
    if (target === 'global' || target === 'stdout' || target === 'fd@1') continue;
    reporter.approximated(text, line, 'the log goes to standard output');
  }
  const http = logging.some(({ mode }) => mode === 'http');
  return { access: { format: http ? 'httplog' : 'tcplog' } };
}
