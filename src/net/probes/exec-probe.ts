import { execFile } from 'node:child_process';
import type { EndpointAddress } from '../../model/address.ts';
import { failedProbe, type Probe, type ProbeResult, passedProbe } from './probe.ts';

/**
 * Runs a program, without a shell: exit status 0 passes. It finds the endpoint in
 * SLUICE_ENDPOINT_ADDRESS and SLUICE_ENDPOINT_PORT and is killed at the timeout.
 */
export class ExecProbe implements Probe {
  readonly #command: readonly string[];
  readonly #timeoutMs: number;

  constructor(command: readonly string[], timeoutMs: number) {
    this.#command = command;
    this.#timeoutMs = timeoutMs;
  }

  run(address: EndpointAddress): Promise<ProbeResult> {
    const [program = '', ...parts] = this.#command;
    const env =
      'path' in address
        ? { SLUICE_ENDPOINT_ADDRESS: address.path, SLUICE_ENDPOINT_PORT: '0' }
        : { SLUICE_ENDPOINT_ADDRESS: address.host, SLUICE_ENDPOINT_PORT: String(address.port) };
    const options = {
      env: { PATH: '/usr/local/bin:/usr/bin:/bin', ...env },
      timeout: this.#timeoutMs,
      killSignal: 'SIGKILL' as const,
      maxBuffer: 65_536,
    };
    return new Promise((resolve) => {
      execFile(program, parts, options, (error) => {
        if (!error) resolve(passedProbe('PROCOK', 0));
        else if (error.killed) resolve(failedProbe('no end in time', 'PROCTOUT'));
        else {
          const code = typeof error.code === 'number' ? error.code : undefined;
          resolve(failedProbe(`exit ${error.code ?? error.signal}`, 'PROCERR', code));
        }
      });
    });
  }
}
