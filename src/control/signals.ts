import { constants } from 'node:os';
import { invalid } from '../base/faults.ts';

/** `TERM`, `sigterm` or `15` as `SIGTERM`. Throws for what is no signal. */
export function signalName(text: string): string {
  const upper = text.toUpperCase();
  const entries = Object.entries(constants.signals);
  const found = /^\d+$/.test(upper)
    ? entries.find(([, number]) => number === Number(upper))
    : entries.find(([name]) => name === upper || name === `SIG${upper}`);
  if (!found) throw invalid(`invalid signal: ${text}`);
  return found[0];
}

/** The number of a signal by its name, such as 15 for `SIGTERM`. */
export function signalNumber(name: string): number {
  return Object.entries(constants.signals).find(([known]) => known === name)?.[1] ?? 0;
}
