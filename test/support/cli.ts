import { spawn } from 'node:child_process';

const ENTRY = new URL('../../src/main/sluice.ts', import.meta.url).pathname;

/** What a run of the command line left. */
export type Run = { readonly status: number | null; readonly out: string; readonly err: string };

/** Runs `sluice` as a process of its own against an admin address. */
export function sluice(admin: string, ...args: string[]): Promise<Run> {
  const env = { ...process.env, SLUICE_ADMIN: admin, SLUICE_TOKEN: '' };
  const child = spawn(process.execPath, [ENTRY, ...args], { env });
  let [out, err] = ['', ''];
  child.stdout.on('data', (data: Buffer) => {
    out += data.toString();
  });
  child.stderr.on('data', (data: Buffer) => {
    err += data.toString();
  });
  return new Promise((resolve) => child.on('close', (status) => resolve({ status, out, err })));
}
