import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { HOST, Lab } from '../../test/conformance/docker-cli/lab.ts';
import { caller } from '../../test/support/engine.ts';
import { median } from '../lib/median.ts';

const CLIENT = fileURLToPath(new URL('./first-answer-client.ts', import.meta.url));
const PORT = 8080;
const FEWEST_ROUNDS = 20;

/** From the order of a container to the first answer of its published port, in milliseconds. */
export type FirstAnswerRow = { case: string; rounds: number; medianMs: number; worstMs: number };

type Start = (lab: Lab, argv: readonly string[]) => Promise<void>;

const API_ORDER = {
  ExposedPorts: { '80/tcp': {} },
  HostConfig: { PortBindings: { '80/tcp': [{ HostPort: String(PORT) }] } },
};

const CASES: Readonly<Record<string, Start>> = {
  'docker run -d -p': async (lab, argv) => {
    await lab.ok('run', '-d', '--name', 'web', '-p', `${PORT}:80`, 'host', ...argv);
  },
  'two calls of the API': async (lab, argv) => {
    const call = caller(lab.socket);
    await call('POST', '/containers/create?name=web', { Image: 'host', Cmd: argv, ...API_ORDER });
    await call('POST', '/containers/web/start');
  },
};

function nginxConfig(folder: string): string {
  return `daemon off; master_process off; pid ${folder}/nginx.pid; error_log stderr crit;
events {} http { access_log off; server { listen 80; location / { return 200 "here\\n"; } } }
`;
}

async function round(lab: Lab, client: ChildProcess, start: () => Promise<void>): Promise<number> {
  const ready = once(client, 'message');
  client.send({ host: HOST, port: PORT });
  await ready;
  const answered = once(client, 'message').then(() => performance.now());
  const from = performance.now();
  await start();
  const took = (await answered) - from;
  await lab.ok('rm', '-f', 'web');
  return took;
}

/** Starts a web server in a container, over and over, while a client on another host asks for it. */
export async function measureFirstAnswer(rounds: number): Promise<FirstAnswerRow[]> {
  const lab = await Lab.open();
  const { file, args } = lab.clientCommand(process.execPath, CLIENT);
  const client = spawn(file, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  try {
    const folder = join(lab.folder, 'web');
    mkdirSync(folder);
    writeFileSync(join(folder, 'nginx.conf'), nginxConfig(folder));
    const argv = ['nginx', '-p', folder, '-c', join(folder, 'nginx.conf')];
    const times = new Map(Object.keys(CASES).map((name) => [name, [] as number[]]));
    for (let count = 0; count < Math.max(FEWEST_ROUNDS, rounds); count++) {
      for (const [name, start] of Object.entries(CASES)) {
        times.get(name)?.push(await round(lab, client, () => start(lab, argv)));
      }
    }
    return [...times].map(([name, list]) => {
      const [medianMs, worstMs] = [median(list), Math.max(...list)];
      return { case: name, rounds: list.length, medianMs, worstMs };
    });
  } finally {
    client.kill();
    await lab.close();
  }
}
