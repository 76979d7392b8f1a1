/** Settings of passive ejection; durations in ms, shares from 0 to 1. */
export type OutlierOptions = {
  /** Failures in a row that eject. */
  readonly failures: number;
  readonly errorRatio: number;
  readonly within: number;
  readonly ejectFor: number;
  readonly maxEjected: number;
};

/** Outcomes of one endpoint as one worker process saw them since its last report. */
export type EndpointOutcomes = {
  readonly endpoint: string;
  readonly ok: number;
  readonly failed: number;
  /** Failures since the last success. */
  readonly tail: number;
  readonly byClass: Readonly<
    Partial<Record<'ok' | 'refused' | 'reset' | 'timeout' | 'status5xx', number>>
  >;
};

/** An endpoint put aside or returned. */
export type OutlierEvent = {
  readonly endpoint: string;
  readonly ejected: boolean;
  readonly reason: 'consecutive' | 'refused' | 'ratio' | 'expired' | 'recovered';
};

/** Fewest requests in the window before a ratio is judged. */
const MIN_REQUESTS = 20;
/** Refused connections in a row that eject: nobody listens, so there is nothing to wait for. */
const REFUSED_LIMIT = 2;
const MAX_EJECTION_MS = 300_000;
/** The window is counted in this many slices. */
const SLICES = 10;

type Slice = { at: number; ok: number; failed: number };
type Track = {
  slices: Slice[];
  tail: number;
  refused: number;
  until: number;
  count: number;
  calmSince: number;
};

/** Passive ejection for the endpoints of one service, fed by batches of all workers. */
export class OutlierTracker {
  readonly #options: OutlierOptions;
  #tracks = new Map<string, Track>();

  constructor(options: OutlierOptions) {
    this.#options = options;
  }

  /** Sets the endpoints there are; what is known of those that stay is kept. */
  update(endpoints: readonly string[]): void {
    const old = this.#tracks;
    const fresh = (): Track => ({
      slices: [],
      tail: 0,
      refused: 0,
      until: 0,
      count: 0,
      calmSince: 0,
    });
    this.#tracks = new Map(endpoints.map((id) => [id, old.get(id) ?? fresh()]));
  }

  isEjected(endpoint: string): boolean {
    return (this.#tracks.get(endpoint)?.until ?? 0) > 0;
  }

  /** The endpoints that are put aside now: for how many ms yet, and how often before. */
  ejections(now: number): { endpoint: string; leftMs: number; count: number }[] {
    return [...this.#tracks].flatMap(([endpoint, { until, count }]) =>
      until > now ? [{ endpoint, leftMs: until - now, count }] : [],
    );
  }

  /** Puts an endpoint aside as another tracker has decided. */
  restore(endpoint: string, leftMs: number, count: number, now: number): void {
    const track = this.#tracks.get(endpoint);
    if (track) Object.assign(track, { until: now + leftMs, count });
  }

  /** Takes reports of unknown endpoints for nothing: they have left since. */
  report(batches: readonly EndpointOutcomes[], now: number): OutlierEvent[] {
    for (const batch of batches) {
      const track = this.#tracks.get(batch.endpoint);
      if (track) this.#count(track, batch, now);
    }
    const events: OutlierEvent[] = [];
    for (const id of new Set(batches.map((batch) => batch.endpoint))) {
      const track = this.#tracks.get(id);
      const reason = track && track.until === 0 ? this.#verdict(track, now) : undefined;
      if (!track || !reason || !this.#roomToEject() || this.#peersFailAsMuch(track, now)) continue;
      track.count++;
      track.until = now + Math.min(this.#options.ejectFor * track.count, MAX_EJECTION_MS);
      events.push({ endpoint: id, ejected: true, reason });
    }
    return events;
  }

  /** Returns endpoints whose time is over, and lets calm ones live down their past. */
  tick(now: number): OutlierEvent[] {
    const events: OutlierEvent[] = [];
    for (const [endpoint, track] of this.#tracks) {
      if (track.until > 0 && track.until <= now) {
        restart(track, now);
        events.push({ endpoint, ejected: false, reason: 'expired' });
      } else if (track.until === 0 && now - track.calmSince >= this.#options.ejectFor) {
        const { ok } = this.#window(track, now);
        if (ok > 0 && track.count > 0) track.count--;
        track.calmSince = now;
      }
    }
    return events;
  }

  /** Returns an endpoint before its time, because checks have shown that its cause is gone. */
  release(endpoint: string, now: number): OutlierEvent[] {
    const track = this.#tracks.get(endpoint);
    if (!track || track.until === 0) return [];
    restart(track, now);
    return [{ endpoint, ejected: false, reason: 'recovered' }];
  }

  #count(track: Track, batch: EndpointOutcomes, now: number): void {
    // With several workers a success of one ends the row of all.
    track.tail = batch.ok > 0 ? batch.tail : track.tail + batch.failed;
    const refused = Math.min(batch.byClass.refused ?? 0, batch.tail);
    track.refused = batch.ok > 0 || refused < batch.failed ? refused : track.refused + refused;
    if (batch.failed > 0) track.calmSince = now;
    const width = this.#options.within / SLICES;
    const at = Math.floor(now / width) * width;
    const last = track.slices.at(-1);
    if (last?.at === at) {
      last.ok += batch.ok;
      last.failed += batch.failed;
    } else {
      track.slices.push({ at, ok: batch.ok, failed: batch.failed });
      if (track.slices.length > SLICES) track.slices.shift();
    }
  }

  #verdict(track: Track, now: number): 'consecutive' | 'refused' | 'ratio' | undefined {
    if (track.refused >= REFUSED_LIMIT) return 'refused';
    if (track.tail >= this.#options.failures) return 'consecutive';
    const { ok, failed } = this.#window(track, now);
    const total = ok + failed;
    return total >= MIN_REQUESTS && failed / total >= this.#options.errorRatio
      ? 'ratio'
      : undefined;
  }

  #window(track: Track, now: number): { ok: number; failed: number } {
    const sum = { ok: 0, failed: 0 };
    for (const slice of track.slices) {
      if (slice.at <= now - this.#options.within) continue;
      sum.ok += slice.ok;
      sum.failed += slice.failed;
    }
    return sum;
  }

  #roomToEject(): boolean {
    const size = this.#tracks.size;
    let ejected = 0;
    for (const track of this.#tracks.values()) if (track.until > 0) ejected++;
    return size > 1 && ejected + 1 <= Math.floor(size * this.#options.maxEjected);
  }

  /** Whether the others in service fail at least as often: then the cause is not this one. */
  #peersFailAsMuch(track: Track, now: number): boolean {
    const peers = { ok: 0, failed: 0 };
    for (const peer of this.#tracks.values()) {
      if (peer === track || peer.until > 0) continue;
      const { ok, failed } = this.#window(peer, now);
      peers.ok += ok;
      peers.failed += failed;
    }
    const own = this.#window(track, now);
    const ratio = peers.failed / Math.max(1, peers.ok + peers.failed);
    return peers.failed > 0 && ratio >= own.failed / Math.max(1, own.ok + own.failed);
  }
}

/** Judges an endpoint anew; how often it was put aside stays. */
function restart(track: Track, now: number): void {
  Object.assign(track, { until: 0, tail: 0, refused: 0, slices: [], calmSince: now });
}
