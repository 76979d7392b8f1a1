import { SilenceDetector } from '../../health/silence.ts';
import type { SupervisorLink } from '../ipc.ts';

const SILENT_MS = 700;
const SWEEP_MS = 200;

type Watched = { service: string; endpoint: string; detector: SilenceDetector };

/** Looks for endpoints that have stopped answering while requests wait on them. */
export class SilenceWatch {
  readonly #link: SupervisorLink;
  readonly #watched = new Map<string, Watched>();
  #timer: NodeJS.Timeout | undefined;

  constructor(link: SupervisorLink) {
    this.#link = link;
  }

  /** The detector of an endpoint; its requests report to it. */
  of(service: string, endpoint: string): SilenceDetector {
    const key = `${service}\n${endpoint}`;
    let watched = this.#watched.get(key);
    if (!watched) {
      watched = { service, endpoint, detector: new SilenceDetector(SILENT_MS) };
      this.#watched.set(key, watched);
      this.#arm();
    }
    return watched.detector;
  }

  /** Forgets the endpoints of services that are gone. */
  retain(services: (name: string) => boolean): void {
    for (const [key, { service }] of this.#watched) {
      if (!services(service)) this.#watched.delete(key);
    }
  }

  #arm(): void {
    if (this.#timer) return;
    this.#timer = setInterval(() => {
      const now = performance.now();
      for (const { service, endpoint, detector } of this.#watched.values()) {
        if (detector.suspect(now)) this.#link.suspect(service, endpoint);
      }
    }, SWEEP_MS);
    this.#timer.unref();
  }
}
