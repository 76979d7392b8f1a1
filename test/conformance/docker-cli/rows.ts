import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { missing, type Outcome } from '../../support/docker-daemon.ts';
import { Lab } from './lab.ts';

export type Row = { readonly id: string; readonly what: string; run(lab: Lab): Promise<unknown> };

const REASON = missing();

/**
 * Runs rows one after the other on one host. A row that returns a text was skipped for that
 * reason; what it leaves behind is removed before the next.
 */
export function rows(flags: readonly string[], list: readonly Row[]): void {
  let lab: Lab | undefined;
  before(async () => {
    if (REASON === undefined) lab = await Lab.open(flags);
  });
  after(async () => {
    await lab?.close();
  });
  for (const { id, what, run } of list) {
    test(`${id} ${what}`, { skip: REASON ?? false, timeout: 120_000 }, async (t) => {
      assert.ok(lab, 'the lab is open');
      try {
        const reason = await run(lab);
        if (typeof reason === 'string') t.skip(reason);
      } catch (error) {
        // The daemon writes its log in the background.
        await new Promise((resolve) => setTimeout(resolve, 300));
        t.diagnostic(
          `${id}: the daemon said\n${lab.log.trimEnd().split('\n').slice(-8).join('\n')}`,
        );
        throw error;
      } finally {
        await lab.tidy();
      }
    });
  }
}

/** One row of the catalogue. */
export function row(id: string, what: string, run: Row['run']): Row {
  return { id, what, run };
}

/** The outcome is a failure with this exit code that says this. */
export function refused({ code, out, err }: Outcome, wanted: RegExp, exitCode = 1): void {
  assert.equal(code, exitCode, `exit code of: ${out}${err}`);
  assert.match(`${out}${err}`, wanted);
}

/** Waits until a question is answered as wanted. */
export async function eventually(
  question: () => Promise<string>,
  wanted: RegExp,
  patienceMs = 30_000,
): Promise<void> {
  const end = performance.now() + patienceMs;
  for (;;) {
    const answer = await question();
    if (wanted.test(answer)) return;
    if (performance.now() > end) assert.match(answer, wanted);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
