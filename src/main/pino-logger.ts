import { destination, type Logger as Pino, pino } from 'pino';
import type { LogFields, Logger } from '../base/logger.ts';

class PinoLogger implements Logger {
  readonly #pino: Pino;

  constructor(logger: Pino) {
    this.#pino = logger;
  }

  debug(text: string, fields: LogFields = {}): void {
    this.#pino.debug(fields, text);
  }

  info(text: string, fields: LogFields = {}): void {
    this.#pino.info(fields, text);
  }

  warn(text: string, fields: LogFields = {}): void {
    this.#pino.warn(fields, text);
  }

  error(text: string, fields: LogFields = {}): void {
    this.#pino.error(fields, text);
  }

  child(fields: LogFields): Logger {
    return new PinoLogger(this.#pino.child(fields));
  }
}

/** JSON lines on standard error, written in the background. */
export function createPinoLogger(level: 'debug' | 'info' | 'warn' | 'error'): Logger {
  return new PinoLogger(
    pino({ level, base: { pid: process.pid } }, destination({ fd: 2, sync: false })),
  );
}
