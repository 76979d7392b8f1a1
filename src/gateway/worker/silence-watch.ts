import type { SupervisorLink } from '../ipc.ts';
import type { ServiceHandle } from '../upstream/service-handle.ts';

const SWEEP_MS = 200;

/** Looks for endpoints that have stopped answering while requests wait on them. */
export function watchSilence(services: () => Iterable<ServiceHandle>, link: SupervisorLink): void {
  setInterval(() => {
    const now = performance.now();
    for (const { name, endpoints } of services()) {
      for (const { id, silence } of endpoints) if (silence.suspect(now)) link.suspect(name, id);
    }
  }, SWEEP_MS).unref();
}
