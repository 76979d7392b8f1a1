import { readFileSync } from 'node:fs';
import { runCli } from '../cli/program.ts';
import { VERSION } from './version.ts';

await runCli(
  {
    config: {
      readFile: (path) => {
        try {
          return readFileSync(path, 'utf8');
        } catch {
          return undefined;
        }
      },
      env: process.env,
    },
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
