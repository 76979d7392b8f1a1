import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Agent } from '../agent/agent.ts';
import { probeHost } from '../agent/doctor.ts';
import { findAccount } from '../agent/runtime/accounts.ts';
import { errorText } from '../base/errors.ts';
import { AgentServer } from '../link/agent-server.ts';
import { answers } from '../net/unix-socket.ts';
import { agentTools } from './agent-tools.ts';
import { createPinoLogger } from './pino-logger.ts';
import { ServiceManager } from './service-manager.ts';

const USAGE = `Usage: agent [options]
  --exec-root DIR    sockets, tasks and other files that end with the host (default /run/sluice)
  --log-root DIR     output of tasks (default /var/lib/sluice/logs)
  --volume-root DIR  files of volumes (default /var/lib/sluice/volumes)
  --socket PATH      where orders are taken (default EXEC-ROOT/agent.sock)
  --owner USER:GROUP who may give orders besides root, by names or numbers
  --prefix NAME      names of our table, namespaces and links (default sluice)
  --without-koffi    work as where that optional package is missing
  --log-level LEVEL  debug, info, warn or error (default info)`;

const PREFIX = /^[a-z][a-z0-9]{0,31}$/;

function fail(message: string): never {
  process.stderr.write(`${message}\n`);
  process.exit(1);
}

function readOptions() {
  try {
    return parseArgs({
      options: {
        'exec-root': { type: 'string', default: '/run/sluice' },
        'log-root': { type: 'string', default: '/var/lib/sluice/logs' },
        'volume-root': { type: 'string', default: '/var/lib/sluice/volumes' },
        socket: { type: 'string' },
        owner: { type: 'string' },
        prefix: { type: 'string', default: 'sluice' },
        'without-koffi': { type: 'boolean', default: false },
        'log-level': { type: 'string', default: 'info' },
      },
    }).values;
  } catch (error) {
    fail(`${error instanceof Error ? error.message : error}\n${USAGE}`);
  }
}

const options = readOptions();
const level = (['debug', 'info', 'warn', 'error'] as const).find(
  (one) => one === options['log-level'],
);
if (!level) fail(`unknown log level "${options['log-level']}"\n${USAGE}`);
if (!PREFIX.test(options.prefix)) {
  fail(`--prefix ${options.prefix}: lower-case letters and digits are valid, a letter first`);
}

function readOwner(text: string) {
  try {
    return findAccount(text, []);
  } catch (error) {
    fail(`--owner ${text}: ${errorText(error)}; USER:GROUP is valid`);
  }
}
const owner = options.owner === undefined ? undefined : readOwner(options.owner);

const logger = createPinoLogger(level);
const execRoot = options['exec-root'];
mkdirSync(execRoot, { recursive: true, mode: 0o711 });
const tools = await agentTools({
  prefix: options.prefix,
  execRoot,
  logger,
  native: !options['without-koffi'],
});

const lacking = (await probeHost(tools)).filter((one) => one.required && !one.available);
if (lacking.length > 0) {
  fail(
    [
      'the agent cannot work on this host:',
      ...lacking.map(({ name, purpose, detail }) => `  ${name} (for ${purpose}): ${detail}`),
    ].join('\n'),
  );
}

const path = options.socket ?? join(execRoot, 'agent.sock');
// Two would take each other's output and undo each other's work.
if (await answers(path)) fail(`another agent takes orders at ${path}`);
const server = new AgentServer(logger);
const agent = new Agent(
  tools,
  { logs: options['log-root'], volumes: options['volume-root'] },
  server.events,
);
await server.listen(agent, { path, owner, logger });
logger.info('the agent takes orders', { socket: path, prefix: options.prefix });
const manager = new ServiceManager(process.env, logger);
manager.ready('takes orders');

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.once(signal, async () => {
    manager.stopping();
    server.close();
    await agent.close();
    process.exit(0);
  });
}
