import { errorText } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import type { Cell } from '../../base/metrics.ts';
import type { GatewayConfig } from '../../model/gateway-config.ts';
import { LineSink } from '../../net/line-sink.ts';
import type { AccessLog, AccessRecord, LoadNow } from '../access-record.ts';
import { lineFormat } from './formats.ts';

const STANDARD_OUTPUT = 1;
const MAX_SETTLE_MS = 500;

/** What an access log is built on. */
export type AccessLogDeps = {
  readonly logger: Logger;
  /** Counts lines that were dropped. */
  readonly dropped: Cell;
  readonly load: (record: AccessRecord) => LoadNow;
};

/**
 * Opens the access log that a configuration asks for, if any. Lines are written in the background; a sink
 * that is slow, full or gone costs lines, never time.
 */
export function openAccessLog({ log }: GatewayConfig, deps: AccessLogDeps): AccessLog | undefined {
  const { access } = log;
  if (access === false) return undefined;
  const sink = openSink(access.file, deps);
  if (!sink) {
    return { write: () => deps.dropped.value++, reopen() {}, close: async () => {} };
  }
  const format = lineFormat(access.format, deps.load);
  return {
    write: (record) => {
      const failed = record.outcome !== 'ok' && record.outcome !== 'closed';
      if (!failed && access.sample < 1 && Math.random() >= access.sample) return;
      sink.write(`${format(record)}\n`);
    },
    reopen: () => sink.reopen(),
    close: () => sink.close(MAX_SETTLE_MS),
  };
}

function openSink(file: string | undefined, deps: AccessLogDeps): LineSink | undefined {
  const { logger, dropped } = deps;
  const events = {
    dropped: (lines: number) => {
      dropped.value += lines;
    },
    failed: (why: string) => logger.error('the access log cannot be written', { file, why }),
  };
  try {
    return new LineSink(file ?? STANDARD_OUTPUT, events);
  } catch (error) {
    const why = errorText(error);
    logger.error('the access log cannot be opened; its lines are dropped', { file, why });
    return undefined;
  }
}
