import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { SluiceError, systemCode } from '../../base/errors.ts';

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return systemCode(error) === 'EPERM';
  }
}

/** Writes the process id; refuses while another process of that file lives. Returns its removal. */
export function holdPidfile(path: string): () => void {
  let text = '';
  try {
    text = readFileSync(path, 'utf8').trim();
  } catch {
    // There is none, which is the usual case.
  }
  const other = Number(text);
  if (other > 0 && other !== process.pid && alive(other)) {
    throw new SluiceError(
      'E_NODE_UNAVAILABLE',
      `process with PID ${other} is still running: end it, or remove ${path}`,
    );
  }
  writeFileSync(`${path}.new`, `${process.pid}\n`);
  renameSync(`${path}.new`, path);
  return () => rmSync(path, { force: true });
}
