import { type Logger as Pino, pino } from 'pino';
import type { LogFields, Logger } from '../base/logger.ts';
import { LineSink } from '../net/line-sink.ts';

type Level = 'debug' | 'info' | 'warn' | 'error';

const ORDER: readonly Level[] = ['debug', 'info', 'warn', 'error'];
const STANDARD_ERROR = 2;
const SETTLE_MS = 200;

/** The log of a process. */
export type LeveledLogger = Logger & {
  /** Holds for the loggers that it has made too. */
  setLevel(level: Level): void;
  /** Writes what waits, for a moment at most; before the process ends. */
  settle(): Promise<void>;
};

class PinoLogger implements LeveledLogger {
  readonly #pino: Pino;
  readonly #sink: LineSink;
  /** Shared with the loggers that this one has made. */
  readonly #from: { level: Level };

  constructor(logger: Pino, sink: LineSink, from: { level: Level }) {
    this.#pino = logger;
    this.#sink = sink;
    this.#from = from;
  }

  debug(text: string, fields: LogFields = {}): void {
    this.#log('debug', text, fields);
  }

  info(text: string, fields: LogFields = {}): void {
    this.#log('info', text, fields);
  }

  warn(text: string, fields: LogFields = {}): void {
    this.#log('warn', text, fields);
  }

  error(text: string, fields: LogFields = {}): void {
    this.#log('error', text, fields);
  }

  setLevel(level: Level): void {
    this.#from.level = level;
  }

  settle(): Promise<void> {
    return this.#sink.settle(SETTLE_MS);
  }

  child(fields: LogFields): Logger {
    return new PinoLogger(this.#pino.child(fields), this.#sink, this.#from);
  }

  #log(level: Level, text: string, fields: LogFields): void {
    if (ORDER.indexOf(level) >= ORDER.indexOf(this.#from.level)) this.#pino[level](fields, text);
  }
}

/**
 * JSON lines on standard error, each with `fields`, written in the background: a reader that is
 * slow or gone and a disk that is full cost lines, never the process.
 */
export function createPinoLogger(level: Level, fields: LogFields = {}): LeveledLogger {
  const sink = new LineSink(STANDARD_ERROR, { dropped() {} });
  const base = pino({ level: 'debug', base: { pid: process.pid, ...fields } }, sink);
  return new PinoLogger(base, sink, { level });
}
