import {
  type ClusterTaskState,
  type ServicePort,
  TASK_STATES,
  type TaskReport,
} from '../../model/cluster.ts';
import { progress } from './cluster-state.ts';

const MAX_TEXT = 1024;
const MAX_PORTS = 1000;

/** A task of which its node has said nothing yet. */
export const NO_REPORT: TaskReport = {
  state: 'new',
  at: '',
  message: '',
  error: '',
  containerId: '',
  pid: 0,
  exitCode: 0,
  hostPorts: [],
  serving: false,
  drained: false,
};

function isState(value: unknown): value is ClusterTaskState {
  return TASK_STATES.some((state) => state === value);
}

function text(value: unknown): string {
  return typeof value === 'string' ? value.slice(0, MAX_TEXT) : '';
}

function whole(value: unknown): number {
  return typeof value === 'number' && Number.isSafeInteger(value) ? value : 0;
}

function portOf(value: unknown): ServicePort[] {
  if (typeof value !== 'object' || value === null) return [];
  const fields: Partial<Record<keyof ServicePort, unknown>> = value;
  const transport = (['tcp', 'udp', 'sctp'] as const).find((one) => one === fields.transport);
  if (!transport) return [];
  const [targetPort, publishedPort] = [whole(fields.targetPort), whole(fields.publishedPort)];
  return [{ name: text(fields.name), transport, targetPort, publishedPort, mode: 'host' }];
}

/** A report as a node sent it, with nothing in it but what belongs there; undefined: it is none. */
export function readReport(value: unknown): TaskReport | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const fields: Partial<Record<keyof TaskReport, unknown>> = value;
  if (!isState(fields.state)) return undefined;
  const ports = Array.isArray(fields.hostPorts) ? fields.hostPorts.slice(0, MAX_PORTS) : [];
  return {
    state: fields.state,
    at: text(fields.at),
    message: text(fields.message),
    error: text(fields.error),
    containerId: text(fields.containerId),
    pid: whole(fields.pid),
    exitCode: whole(fields.exitCode),
    hostPorts: ports.flatMap(portOf),
    serving: fields.serving === true,
    drained: fields.drained === true,
  };
}

/** Whether a report tells more than what is known; a task's state never goes back. */
export function isNews(known: TaskReport, next: TaskReport): boolean {
  const [before, after] = [progress(known.state), progress(next.state)];
  if (after !== before) return after > before;
  return JSON.stringify(known) !== JSON.stringify(next);
}
