import { InvalidArgumentError } from 'commander';
import { errorText } from '../../base/errors.ts';
import { EngineClient } from '../../client/engine-client.ts';
import type { CliIo } from '../context.ts';
import { STATUS } from '../context.ts';

/** What every command of the engine is given. */
export type EngineContext = {
  readonly io: CliIo;
  readonly engine: () => EngineClient;
};

const DEFAULT_ENGINE = 'unix:///run/sluice/sluice.sock';

export function engineContext(io: CliIo): EngineContext {
  return { io, engine: () => new EngineClient(io.engine ?? DEFAULT_ENGINE) };
}

/** Collects an option that may be repeated. */
export function collect(value: string, before: readonly string[] | undefined): string[] {
  return [...(before ?? []), value];
}

/** `name=value` options as an object. */
export function pairs(given: readonly string[] | undefined): Record<string, string> {
  return Object.fromEntries(
    (given ?? []).map((text) => {
      const at = text.indexOf('=');
      return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + 1)];
    }),
  );
}

/** Filters as the engine takes them. */
export function filterQuery(given: readonly string[] | undefined): string {
  const filters: Record<string, Record<string, boolean>> = {};
  for (const text of given ?? []) {
    const at = text.indexOf('=');
    if (at < 0) throw new InvalidArgumentError(`filter "${text}" is not KEY=VALUE`);
    const [key, value] = [text.slice(0, at), text.slice(at + 1)];
    filters[key] = { ...filters[key], [value]: true };
  }
  return Object.keys(filters).length === 0 ? '' : encodeURIComponent(JSON.stringify(filters));
}

/** Does one thing for each name, tells each, and fails at the end when any has failed. */
export async function forEach(
  { io }: EngineContext,
  names: readonly string[],
  work: (name: string) => Promise<unknown>,
): Promise<void> {
  for (const name of names) {
    try {
      await work(name);
      io.print(name);
    } catch (error) {
      io.fail(errorText(error), STATUS.failed);
    }
  }
}

/** The first twelve digits of an id. */
export function short(id: string): string {
  return id.slice(0, 12);
}
