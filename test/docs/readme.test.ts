import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { eventually } from '../support/gateway.ts';

const ROOT = new URL('../../', import.meta.url).pathname;

/** The lines of the README's second shell block: what a reader types beside `npm start`. */
function commands(): string[] {
  const blocks = [...readFileSync(`${ROOT}README.md`, 'utf8').matchAll(/```sh\n([\s\S]*?)```/g)];
  return (blocks[1]?.[1] ?? '').trim().split('\n');
}

function shell(command: string): Promise<{ code: number; output: string }> {
  return new Promise((resolve) => {
    execFile('sh', ['-c', command], { cwd: ROOT, timeout: 20_000 }, (error, stdout, stderr) => {
      resolve({ code: error ? Number(error.code ?? 1) : 0, output: stdout + stderr });
    });
  });
}

test('npm start serves, and every command that the README gives beside it works', async (t) => {
  const child = spawn('npm', ['start'], {
    cwd: ROOT,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (data: Buffer) => {
      output += data.toString();
    });
  }
  const ended = new Promise((resolve) => child.once('exit', resolve));
  t.after(async () => {
    process.kill(-(child.pid ?? 0), 'SIGTERM');
    await ended;
  });
  await eventually(
    `it says what to try next: ${output}`,
    () => output.includes('Try next'),
    20_000,
  );
  const given = commands();
  assert.ok(given.length >= 5, 'the README has its commands');
  for (const command of given) {
    const { code, output: printed } = await shell(command);
    assert.equal(code, 0, `${command}\n${printed}`);
    assert.notEqual(printed.trim(), '', command);
  }
  assert.match(
    (await shell('curl -s http://127.0.0.1:8080/')).output,
    /^whoami 127\.0\.0\.1:910\d/,
  );
});
