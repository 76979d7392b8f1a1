import { writeFileSync } from 'node:fs';
import { runCli, type Screen } from '../cli/program.ts';
import { fileIo } from './config-source.ts';
import { VERSION } from './version.ts';

const CTRL_C = '\u0003';

const screen: Screen = {
  isTty: process.stdout.isTTY === true,
  size: () => ({ columns: process.stdout.columns, rows: process.stdout.rows }),
  write: (text) => process.stdout.write(text),
  onQuit: (done) => {
    const onKey = (key: Buffer) => {
      if (['q', 'Q', CTRL_C].includes(key.toString())) done();
    };
    const { stdin } = process;
    if (stdin.isTTY) stdin.setRawMode(true).on('data', onKey);
    process.once('SIGINT', done).once('SIGTERM', done);
    return () => {
      process.off('SIGINT', done).off('SIGTERM', done);
      if (stdin.isTTY) stdin.off('data', onKey).setRawMode(false).pause();
    };
  },
};

// A reader that has seen enough (`sluice events | head`) is no fault.
process.stdout.on('error', () => process.exit());

await runCli(
  {
    config: fileIo(process.env),
    writeFile: (path, text) => writeFileSync(path, text),
    admin: process.env['SLUICE_ADMIN'],
    token: process.env['SLUICE_TOKEN'],
    engine: process.env['SLUICE_HOST'] ?? process.env['DOCKER_HOST'],
    write: (stream, data) => process[stream].write(data),
    input: () => process.stdin,
    version: VERSION,
    print: (text) => process.stdout.write(`${text}\n`),
    warn: (text) => process.stderr.write(`${text}\n`),
    fail: (text, status = 1) => {
      if (text !== '') process.stderr.write(`${text}\n`);
      process.exitCode = status;
    },
    screen,
    // Loaded when asked for: no other verb needs it.
    examineHost: async (prefix) => {
      const { examineHost } = await import('./agent-tools.ts');
      return examineHost(prefix);
    },
  },
  process.argv,
);
