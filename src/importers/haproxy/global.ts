import type { GatewayConfigInput } from '../../model/gateway-config.ts';
import { parseLogFormat } from '../../model/log-format.ts';
import { EXPORTER } from './actions.ts';
import { readBind } from './addresses.ts';
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
  const exported = metricsOf(work);
  return compact({
    admin: adminOf(work) ?? (exported && {}),
    metrics: exported,
    workers: workers || undefined,
    user,
    group: user === undefined ? undefined : group,
    shutdown: stop ? { timeout: duration(stop) } : undefined,
    log: logOf(work),
  });
}

/** Metrics in HAProxy's names, where a rule asks for them: at the admin address. */
function metricsOf({ proxies, reporter }: Work): GatewayConfigInput['metrics'] {
  const rules = proxies
    .flatMap(({ statements }) => statements.all('http-request'))
    .filter(({ words }) => words[1] === 'use-service' && words[2] === EXPORTER);
  for (const { text, line } of rules) {
    reporter.approximated(text, line, 'served at /metrics of `admin.bind`, 127.0.0.1:9900');
  }
  return rules.length > 0 ? { compat: 'haproxy' } : undefined;
}

/** The socket of the runtime API. */
function adminOf({ global, reporter }: Work): GatewayConfigInput['admin'] {
  const statement = global.last('stats socket');
  if (!statement) return undefined;
  const [, , address = '', ...options] = statement.words;
  const after = (name: string) =>
    options.includes(name) ? options[options.indexOf(name) + 1] : undefined;
  const read = readBind(address, new Map());
  if (typeof read === 'string') {
    reporter.error(statement.text, statement.line, read);
    return undefined;
  }
  for (const one of global.all('stats socket').slice(0, -1)) {
    reporter.unsupported(one.text, one.line, 'there is one socket of the runtime API, the last');
  }
  const mode = after('mode');
  const unix = read.text.startsWith('unix:') && mode !== undefined;
  const bind = unix ? { unix: read.text.slice(5), mode } : read.text;
  const said = after('level');
  const level = said === 'admin' || said === 'user' ? said : 'operator';
  return { runtime: { bind, level } };
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
  const plain = { access: { format: http ? ('httplog' as const) : ('tcplog' as const) } };
  const [statement, ...more] = logging.flatMap(
    ({ statements }) => statements.last('log-format') ?? [],
  );
  if (!statement) return plain;
  for (const one of more.filter(({ text }) => text !== statement.text)) {
    reporter.approximated(
      one.text,
      one.line,
      'there is one log, in the first form that is asked for',
    );
  }
  const logFormat = statement.words[1] ?? '';
  const parsed = parseLogFormat(logFormat);
  if (typeof parsed !== 'string') return { access: { format: { logFormat } } };
  reporter.unsupported(statement.text, statement.line, parsed);
  return plain;
}
