import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { HOST, type Lab } from './lab.ts';
import { eventually, row, rows } from './rows.ts';

const README = new URL('../../../README.md', import.meta.url);

/** The docker commands of the README, block by block, each as its arguments. */
function blocks(): string[][][] {
  const fenced = readFileSync(README, 'utf8').matchAll(/^```sh\n(.*?)^```/gms);
  return [...fenced]
    .map(([, text = '']) => text.split('\n').filter((line) => line.startsWith('docker ')))
    .filter((lines) => lines.length > 0)
    .map((lines) => lines.map((line) => line.trim().split(/\s+/).slice(1)));
}

async function listsFolder(lab: Lab, port: number): Promise<void> {
  const curl = ['curl', '-s', '--max-time', '10', `http://${HOST}:${port}/`];
  await eventually(async () => (await lab.client(...curl)).out, /Directory listing for \//);
}

async function asWritten(lab: Lab): Promise<string | undefined> {
  const absent = ['/usr/bin/python3', '/usr/bin/curl'].filter((path) => !existsSync(path));
  if (absent.length > 0) return `needs ${absent.join(', ')}`;
  const [engine = [], cluster = []] = blocks();
  const last = engine.at(-1);
  assert.ok(last && engine.length >= 3 && cluster.length >= 3, 'the README has docker commands');
  for (const command of engine.slice(0, -1)) await lab.ok(...command);
  // The server that the command before has started needs a moment.
  await eventually(async () => (await lab.docker(...last)).out, /Directory listing for \//);
  await listsFolder(lab, 8080);
  for (const command of cluster) await lab.ok(...command);
  await listsFolder(lab, 8081);
  return undefined;
}

rows([], [row('README', 'its docker commands do what it says', asWritten)]);
