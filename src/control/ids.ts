import { randomBytes } from 'node:crypto';
import type { Clock } from '../base/clock.ts';

const ID_BYTES = 32;
const SHORT_ID = 12;

/** 64 random hex digits; never all decimal in the first twelve, as those become host names. */
export function newId(): string {
  for (;;) {
    const id = randomBytes(ID_BYTES).toString('hex');
    if (/[a-f]/.test(id.slice(0, SHORT_ID))) return id;
  }
}

/** The part of an id that people read. */
export function shortId(id: string): string {
  return id.slice(0, SHORT_ID);
}

/** RFC 3339 in UTC with nanoseconds. */
export function timestamp(wallMs: number): string {
  return new Date(wallMs).toISOString().replace('Z', '000000Z');
}

/** The present, as objects carry it. */
export function stamp(clock: Clock): string {
  return timestamp(clock.wall());
}
