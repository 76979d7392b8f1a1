import { createPrivateKey, X509Certificate } from 'node:crypto';
import type { Clock, Timer } from '../../base/clock.ts';
import { errorText } from '../../base/errors.ts';
import { forbidden, unavailable } from '../../base/faults.ts';
import type { Logger } from '../../base/logger.ts';
import { jitter, type Rng } from '../../base/rng.ts';
import { applyDiff, NO_ASSIGNMENT, versionOf } from '../../link/assignment.ts';
import { type ManagerSession, type NodeTls, openSession } from '../../link/cluster-client.ts';
import {
  BEAT_JITTER,
  DEFAULT_HEARTBEAT_MS,
  MAX_REPORTS,
  type ManagerMessage,
  MISSED_BEATS,
  type SessionHello,
  type SessionTerms,
} from '../../link/cluster-protocol.ts';
import type {
  AttachmentWish,
  NodeAssignment,
  OverlayNetwork,
  TaskReport,
} from '../../model/cluster.ts';
import {
  createRequest,
  digestOf,
  identityOf,
  issuerOf,
  renewalTime,
} from './identity/authority.ts';
import { sendLogs, type TaskLogsSource } from './log-sender.ts';

/** What a node's end of the link needs of the node. */
export type NodeLinkDeps = {
  tls(): NodeTls;
  /** Where managers were last seen, the best first. */
  managers(): readonly string[];
  hello(): Omit<SessionHello, 'open' | 'assignment' | 'shown'>;
  /** The assignment that it lives by. */
  assignment(): NodeAssignment;
  /** Resolves when it is in place. */
  assigned(assignment: NodeAssignment): Promise<void>;
  drained(tasks: readonly string[]): void;
  /** Its containers on attachable networks. */
  wishes(): readonly AttachmentWish[];
  readonly logs: TaskLogsSource;
  terms(terms: SessionTerms): void;
  certified(certificate: string, key: string, dataKey: string | undefined): void;
  /** The cluster knows this node no more. */
  removed(reason: string): void;
  readonly clock: Clock;
  readonly rng: Rng;
  readonly logger: Logger;
};

const RETRY_MS = 200;
const MAX_RETRY_MS = 5000;
const REPORT_MS = 20;
/** How long an answer of a manager is waited for, until one is reached included. */
const ANSWER_MS = 20_000;
/** Until what the host has refused is tried again. */
const SHOW_AGAIN_MS = 2000;
/** Between two tries to get the next certificate at least. */
const MIN_RENEWAL_MS = 5000;
/** Timers hold 2^31 - 1 ms at most; a day is looked at anew. */
const MAX_RENEWAL_MS = 24 * 3600_000;

/** A node's end of the link: one session after the other with whichever manager leads. */
export class NodeLink {
  readonly #deps: NodeLinkDeps;
  #session: ManagerSession | undefined;
  #address = '';
  /** Manager that was named as leader. */
  #hint: string | undefined;
  #terms: SessionTerms | undefined;
  #heard = 0;
  #beats = 0;
  #beat: Timer | undefined;
  #retry: Timer | undefined;
  #renewal: Timer | undefined;
  #flush: Timer | undefined;
  #wait = RETRY_MS;
  #next = 0;
  #closed = false;
  #pendingKey: string | undefined;
  /** Latest report by task, and those that the session's manager has not been sent. */
  readonly #reports = new Map<string, TaskReport>();
  readonly #unsent = new Set<string>();
  /** What the session's manager was told of attachments, as text; empty: nothing. */
  #wished = '';
  #asks = 0;
  readonly #asked = new Map<
    number,
    { readonly key: string; readonly answer: PromiseWithResolvers<OverlayNetwork | undefined> }
  >();
  #applying: Promise<void> = Promise.resolve();
  #shown = false;
  #showAgain: Timer | undefined;

  constructor(deps: NodeLinkDeps) {
    this.#deps = deps;
  }

  /** Address of the manager that it is connected with; undefined: none. */
  get manager(): string | undefined {
    return this.#session && this.#terms ? this.#address : undefined;
  }

  /** Resolves when the assignment that it lives by is in place, or was refused by the host. */
  async start(): Promise<void> {
    this.#scheduleRenewal();
    const kept = this.#deps.assignment();
    this.#assign(kept, versionOf(kept));
    await this.#applying;
    if (!this.#closed) void this.#connect();
  }

  close(): void {
    this.#closed = true;
    for (const timer of [this.#beat, this.#retry, this.#renewal, this.#flush]) timer?.cancel();
    this.#showAgain?.cancel();
    this.#session?.close();
  }

  /** Ends the session, so that the next one shows another certificate. */
  reconnect(): void {
    this.#wait = RETRY_MS;
    this.#session?.close();
  }

  report(taskId: string, report: TaskReport): void {
    this.#reports.set(taskId, report);
    this.#unsent.add(taskId);
    this.#flushSoon();
  }

  /** A task that is of this node no more. */
  forget(taskId: string): void {
    this.#reports.delete(taskId);
    this.#unsent.delete(taskId);
  }

  /** Its attachments may be others than before. */
  attachmentsChanged(): void {
    this.#flushSoon();
  }

  /**
   * An attachable network by name, id or the beginning of an id; undefined: there is none. Throws
   * when containers may not join it, and when no manager answers.
   */
  async findNetwork(key: string): Promise<OverlayNetwork | undefined> {
    const ask = this.#asks++;
    const answer = Promise.withResolvers<OverlayNetwork | undefined>();
    const late = this.#deps.clock.after(ANSWER_MS, () => {
      answer.reject(unavailable(`network ${key} is not known here, and no manager answers`));
    });
    this.#asked.set(ask, { key, answer });
    this.#session?.send({ find: key, ask });
    try {
      return await answer.promise;
    } finally {
      late.cancel();
      this.#asked.delete(ask);
    }
  }

  async #connect(): Promise<void> {
    const managers = this.#deps.managers();
    this.#address = this.#hint ?? managers[this.#next++ % Math.max(1, managers.length)] ?? '';
    this.#hint = undefined;
    this.#terms = undefined;
    const assignment = this.#deps.assignment();
    const held = { assignment: versionOf(assignment), shown: this.#shown };
    const hello = { ...this.#deps.hello(), ...held };
    try {
      const session = await openSession(
        this.#address,
        this.#deps.tls(),
        { open: 'session', ...hello },
        (message) => this.#take(message),
        () => this.#ended(),
      );
      if (this.#closed) session.close();
      this.#session = session;
      this.#heard = this.#deps.clock.now();
      for (const id of this.#reports.keys()) this.#unsent.add(id);
      this.#wished = '';
      for (const [ask, { key }] of this.#asked) session.send({ find: key, ask });
      this.#flushSoon();
      this.#beatLater();
    } catch (error) {
      this.#deps.logger.debug('no manager', { address: this.#address, reason: errorText(error) });
      this.#again();
    }
  }

  #ended(): void {
    this.#session = undefined;
    this.#beat?.cancel();
    this.#again();
  }

  #again(): void {
    if (this.#closed) return;
    const { clock, rng } = this.#deps;
    this.#retry?.cancel();
    this.#retry = clock.after(jitter(rng, this.#wait, 0.5), () => void this.#connect());
    this.#wait = Math.min(MAX_RETRY_MS, this.#wait * 2);
  }

  #beatLater(): void {
    const { clock, rng } = this.#deps;
    const heartbeatMs = this.#terms?.heartbeatMs ?? DEFAULT_HEARTBEAT_MS;
    this.#beat?.cancel();
    this.#beat = clock.after(jitter(rng, heartbeatMs, BEAT_JITTER), () => {
      if (clock.now() - this.#heard > heartbeatMs * MISSED_BEATS) {
        this.#deps.logger.warn('the manager is silent', { address: this.#address });
        this.#session?.close();
        return;
      }
      this.#session?.send({ beat: this.#beats++ });
      this.#beatLater();
    });
  }

  #take(message: ManagerMessage): void {
    this.#heard = this.#deps.clock.now();
    if ('refused' in message) {
      this.#hint = message.leader;
      if (message.removed) this.#deps.removed(message.refused);
      this.#deps.logger.debug('the manager refuses', { reason: message.refused });
      this.#session?.close();
    } else if ('terms' in message) {
      this.#wait = RETRY_MS;
      this.#terms = message.terms;
      this.#deps.terms(message.terms);
      this.#checkCertificate(message.terms);
      this.#beatLater();
    } else if ('whole' in message) {
      this.#assign({ ...NO_ASSIGNMENT, ...message.whole }, message.version);
    } else if ('answer' in message) this.#answered(message);
    else if ('diff' in message) {
      const next = applyDiff(this.#deps.assignment(), message.diff);
      if (versionOf(next) === message.version) this.#assign(next, message.version);
      else this.#session?.send({ lost: true });
    } else if ('drained' in message) this.#deps.drained(message.drained);
    else if ('logs' in message) {
      void sendLogs(this.#address, this.#deps.tls(), message.logs, this.#deps.logs);
    } else if ('certificate' in message) this.#certified(message.certificate, message.dataKey);
  }

  #answered({ answer, network, denied }: Extract<ManagerMessage, { answer: number }>): void {
    const asked = this.#asked.get(answer);
    if (denied === '') asked?.answer.resolve(network);
    else asked?.answer.reject(forbidden(`Could not attach to network ${asked.key}: ${denied}`));
  }

  #assign(assignment: NodeAssignment, version: string): void {
    const { clock, logger, assigned } = this.#deps;
    this.#showAgain?.cancel();
    this.#applying = this.#applying
      .then(() => assigned(assignment))
      .then(() => this.#tell(version, true))
      .catch((error: unknown) => {
        logger.error('the assignment is not in place', { reason: errorText(error) });
        this.#tell(version, false);
        this.#showAgain?.cancel();
        if (this.#closed) return;
        this.#showAgain = clock.after(SHOW_AGAIN_MS, () => {
          if (versionOf(this.#deps.assignment()) === version) this.#assign(assignment, version);
        });
      });
  }

  #tell(applied: string, shown: boolean): void {
    this.#shown = shown;
    this.#session?.send({ applied, shown });
  }

  #flushSoon(): void {
    this.#flush ??= this.#deps.clock.after(REPORT_MS, () => {
      this.#flush = undefined;
      if (!this.#session) return;
      const ids = [...this.#unsent].slice(0, MAX_REPORTS);
      const reports = ids.flatMap((taskId) => {
        this.#unsent.delete(taskId);
        const report = this.#reports.get(taskId);
        return report ? [{ taskId, report }] : [];
      });
      if (reports.length > 0) this.#session.send({ reports });
      this.#tellWishes();
      if (this.#unsent.size > 0) this.#flushSoon();
    });
  }

  #tellWishes(): void {
    const attach = this.#deps.wishes();
    const text = JSON.stringify(attach);
    if (text === this.#wished) return;
    this.#wished = text;
    this.#session?.send({ attach });
  }

  #scheduleRenewal(): void {
    const { clock, rng } = this.#deps;
    const identity = identityOf(new X509Certificate(this.#deps.tls().certificate));
    if (!identity || this.#closed) return;
    const dueMs = renewalTime(identity, rng.next()) - clock.wall();
    this.#renewal?.cancel();
    this.#renewal = clock.after(Math.min(MAX_RENEWAL_MS, Math.max(MIN_RENEWAL_MS, dueMs)), () => {
      if (dueMs <= MAX_RENEWAL_MS) void this.#renew();
      this.#scheduleRenewal();
    });
  }

  /** Asks for another certificate where role or root are to change. */
  #checkCertificate({ role, issuer, roots }: SessionTerms): void {
    const own = new X509Certificate(this.#deps.tls().certificate);
    const root = issuerOf(own, roots);
    if (identityOf(own)?.role === role && root && digestOf(root) === issuer) return;
    void this.#renew();
  }

  async #renew(): Promise<void> {
    const { key, request } = await createRequest();
    this.#pendingKey = key;
    this.#session?.send({ renew: request });
  }

  #certified(certificate: string, dataKey: string | undefined): void {
    const key = this.#pendingKey;
    this.#pendingKey = undefined;
    if (key === undefined || !fits(certificate, key)) return;
    this.#deps.logger.info('this node has another certificate');
    this.#deps.certified(certificate, key, dataKey);
    this.#scheduleRenewal();
    this.reconnect();
  }
}

function fits(certificate: string, key: string): boolean {
  try {
    return new X509Certificate(certificate).checkPrivateKey(createPrivateKey(key));
  } catch {
    return false;
  }
}
