import { createWriteStream, type WriteStream } from 'node:fs';
import type { MetricRegistry } from '../../base/metrics.ts';
import type { GatewayConfig } from '../../model/gateway-config.ts';
import type { AccessRecord } from '../access-record.ts';
import { lineFormat } from './formats.ts';

const MAX_BUFFERED_BYTES = 1_048_576;
const FLUSH_MS = 100;

/** Gathers lines and writes them in the background; drops and counts them when the sink is slow. */
class LineWriter {
  readonly #stream: WriteStream | NodeJS.WriteStream;
  readonly #dropped: () => void;
  #lines = '';
  #timer: NodeJS.Timeout | undefined;

  constructor(stream: WriteStream | NodeJS.WriteStream, dropped: () => void) {
    this.#stream = stream;
    this.#dropped = dropped;
    stream.on('error', dropped);
  }

  write(line: string): void {
    if (this.#lines.length + this.#stream.writableLength > MAX_BUFFERED_BYTES) {
      this.#dropped();
      return;
    }
    this.#lines += `${line}\n`;
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      const text = this.#lines;
      this.#lines = '';
      this.#stream.write(text);
    }, FLUSH_MS);
  }
}

/** Opens the access log that a configuration asks for: a function that takes finished sessions. */
export function openAccessLog(
  config: GatewayConfig,
  metrics: MetricRegistry,
): (record: AccessRecord) => void {
  const { access } = config.log;
  if (access === false) return () => {};
  const dropped = metrics.cell('sluice_access_log_dropped_total');
  const stream =
    access.file === undefined ? process.stdout : createWriteStream(access.file, { flags: 'a' });
  const writer = new LineWriter(stream, () => {
    dropped.value++;
  });
  const format = lineFormat(access.format);
  return (record) => {
    const failed = record.outcome !== 'ok' && record.outcome !== 'closed';
    if (!failed && access.sample < 1 && Math.random() >= access.sample) return;
    writer.write(format(record));
  };
}
