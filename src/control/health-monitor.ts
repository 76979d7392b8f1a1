import type { Timer } from '../base/clock.ts';
import { errorText, SluiceError } from '../base/errors.ts';
import { formatDuration } from '../base/values.ts';
import type { Container, ContainerHealthCheck, HealthRecord } from '../model/container.ts';
import type { Execs } from './execs.ts';
import { afterCheck, checkDelay, UNKNOWN_HEALTH } from './health-state.ts';
import { stamp } from './ids.ts';
import { type ControlParts, patch, tell } from './parts.ts';

const MAX_OUTPUT = 4096;
const TOO_LONG = -1;

type Watch = { timer: Timer | undefined; stopped: boolean; readonly since: number };

/** Runs the health checks of running containers, one at a time for each. */
export class HealthMonitor {
  readonly #parts: ControlParts;
  readonly #execs: Execs;
  readonly #watches = new Map<string, Watch>();

  constructor(parts: ControlParts, execs: Execs) {
    this.#parts = parts;
    this.#execs = execs;
  }

  /** From now on until `stop`. */
  watch(container: Container, check: ContainerHealthCheck): void {
    this.stop(container.id);
    const watch: Watch = { timer: undefined, stopped: false, since: this.#parts.clock.now() };
    this.#watches.set(container.id, watch);
    this.#schedule(container.id, check, watch);
  }

  stop(id: string): void {
    const watch = this.#watches.get(id);
    if (!watch) return;
    watch.stopped = true;
    watch.timer?.cancel();
    this.#watches.delete(id);
  }

  close(): void {
    for (const id of [...this.#watches.keys()]) this.stop(id);
  }

  #schedule(id: string, check: ContainerHealthCheck, watch: Watch): void {
    const health = this.#parts.registry.findContainer(id)?.state.health ?? UNKNOWN_HEALTH;
    const delayMs = checkDelay(health, check, this.#parts.clock.now() - watch.since);
    watch.timer = this.#parts.clock.after(delayMs, () => void this.#check(id, check, watch));
  }

  async #check(id: string, check: ContainerHealthCheck, watch: Watch): Promise<void> {
    const container = this.#parts.registry.findContainer(id);
    if (watch.stopped || !container) return;
    if (container.state.status === 'running') {
      const record = await this.#probe(container, check);
      if (watch.stopped) return;
      try {
        if (record) this.#judge(id, check, record, watch);
      } catch (error) {
        // What cannot be written, as on a full disk, is not known; the next check says the same.
        const reason = errorText(error);
        this.#parts.logger.warn('health check not kept', { container: container.name, reason });
      }
    }
    this.#schedule(id, check, watch);
  }

  #judge(id: string, check: ContainerHealthCheck, record: HealthRecord, watch: Watch): void {
    const container = this.#parts.registry.findContainer(id);
    if (!container) return;
    const before = container.state.health ?? UNKNOWN_HEALTH;
    const health = afterCheck(before, check, record, this.#parts.clock.now() - watch.since);
    const next = patch(this.#parts, id, { state: { health } });
    if (next && health.status !== before.status) {
      tell(this.#parts, `health_status: ${health.status}`, next);
    }
  }

  /** Undefined: nothing can be said of the container, because the agent is away. */
  async #probe(
    container: Container,
    check: ContainerHealthCheck,
  ): Promise<HealthRecord | undefined> {
    const start = stamp(this.#parts.clock);
    const argv = check.shell ? ['/bin/sh', '-c', check.argv.join(' ')] : check.argv;
    const end = (exitCode: number, output: string): HealthRecord => ({
      start,
      end: stamp(this.#parts.clock),
      exitCode,
      output,
    });
    try {
      const run = await this.#execs.collect(container, argv, check.timeoutMs, MAX_OUTPUT);
      if (run.exitCode !== undefined) return end(run.exitCode, run.output);
      return end(TOO_LONG, `Health check exceeded timeout (${formatDuration(check.timeoutMs)})`);
    } catch (error) {
      if (error instanceof SluiceError && error.code === 'E_AGENT_UNREACHABLE') return undefined;
      return end(TOO_LONG, errorText(error));
    }
  }
}
