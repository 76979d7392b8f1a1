import { destination, type Logger as Pino, pino } from 'pino';
import type { LogFields, Logger } from '../base/logger.ts';

type Level = 'debug' | 'info' | 'warn' | 'error';

/** A logger whose level can change while it runs. */
export type LeveledLogger = Logger & { setLevel(level: Level): void };

class PinoLogger implements LeveledLogger {
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

  setLevel(level: Level): void {
    this.#pino.level = level;
  }

  child(fields: LogFields): Logger {
    return new PinoLogger(this.#pino.child(fields));
  }
}

/** JSON lines on standard error, written in the background. */
export function createPinoLogger(level: Level): LeveledLogger {
  return new PinoLogger(
    pino({ level, base: { pid: process.pid } }, destination({ fd: 2, sync: false })),
  );
}
