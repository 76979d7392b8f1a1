import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { CLIENT, HOST, type Lab } from './lab.ts';
import { eventually, row, rows } from './rows.ts';

const README = new URL('../../../README.md', import.meta.url);

/** The docker commands of the README, each as its arguments. */
function commands(): string[][] {
  const lines = readFileSync(README, 'utf8').split('\n');
  return lines
    .filter((line) => line.startsWith('docker '))
    .map((line) => line.trim().split(/\s+/).slice(1));
}

async function asWritten(lab: Lab): Promise<string | undefined> {
  const absent = ['/usr/bin/python3', '/usr/bin/curl'].filter((path) => !existsSync(path));
  if (absent.length > 0) return `needs ${absent.join(', ')}`;
  const all = commands();
  const last = all.at(-1);
  assert.ok(last && all.length >= 3, 'the README has docker commands');
  for (const command of all.slice(0, -1)) await lab.ok(...command);
  // The server that the command before has started needs a moment.
  await eventually(async () => (await lab.docker(...last)).out, /Directory listing for \//);
  const { out } = await lab.client('curl', '-s', '--max-time', '10', `http://${HOST}:8080/`);
  assert.match(out, /Directory listing for \//, `published to ${CLIENT}`);
  return undefined;
}

rows([], [row('README', 'its docker commands do what it says', asWritten)]);
