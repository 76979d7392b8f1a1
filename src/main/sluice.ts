import { runCli } from '../cli/program.ts';
import { fileIo } from './config-source.ts';
import { VERSION } from './version.ts';

await runCli(
  {
    config: fileIo(process.env),
    admin: process.env['SLUICE_ADMIN'],
    token: process.env['SLUICE_TOKEN'],
    version: VERSION,
    print: (text) => process.stdout.write(`${text}\n`),
    fail: (text) => {
      process.stderr.write(`${text}\n`);
      process.exitCode = 1;
    },
  },
  process.argv,
);
