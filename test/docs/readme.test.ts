import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import net from 'node:net';
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

/** Whether the quickstart, or something else, is at work on the quickstart's ports already. */
async function taken(): Promise<string | false> {
  for (const port of [8080, 9900, 9101, 9102, 9103]) {
    const socket = net.connect(port, '127.0.0.1');
    const answered = await new Promise<boolean>((resolve) => {
      socket.once('connect', () => resolve(true));
      socket.once('error', () => resolve(false));
    });
    socket.destroy();
    if (answered) return `127.0.0.1:${port} is taken; the quickstart needs it`;
  }
  return false;
}

const skip = await taken();

test('npm start serves, and every command that the README gives beside it works', {
  skip,
}, async (t) => {
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
    'it says what to try next, or ends',
    () => output.includes('Try next') || child.exitCode !== null,
  );
  assert.match(output, /Try next/);
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

test('a TERM to npm start alone ends the daemon, and what it listened on is free', {
  skip,
}, async (t) => {
  const child = spawn('npm', ['start'], { cwd: ROOT, detached: true });
  t.after(() => {
    if (child.exitCode === null && child.signalCode === null)
      process.kill(-(child.pid ?? 0), 'SIGKILL');
  });
  let output = '';
  child.stdout.on('data', (data: Buffer) => {
    output += data.toString();
  });
  await eventually('it serves', () => output.includes('Try next'));
  child.kill('SIGTERM');
  await eventually('the ports are free', async () => (await taken()) === false);
});
