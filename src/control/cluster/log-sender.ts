import type { LogEntry, LogQuery } from '../../link/agent-port.ts';
import { type NodeTls, openLogs } from '../../link/cluster-client.ts';
import type { LogsOrder } from '../../link/cluster-protocol.ts';

/** Output of a task of this node; `ended` once, after the last line; the result stops it. */
export type TaskLogsSource = (
  taskId: string,
  query: LogQuery,
  line: (entry: LogEntry) => void,
  ended: () => void,
) => () => void;

const timeOf = (text: string | undefined) => (text === undefined ? undefined : BigInt(text));

/** Sends a manager the output of tasks that it has asked for, on a connection of its own. */
export async function sendLogs(
  address: string,
  tls: NodeTls,
  { stream, tasks, follow, tail, since, until }: LogsOrder,
  source: TaskLogsSource,
): Promise<void> {
  const stops: (() => void)[] = [];
  const connection = await openLogs(address, tls, stream, () => {
    for (const stop of stops) stop();
  }).catch(() => undefined);
  // The manager waits for it no longer than for any answer.
  if (!connection) return;
  const query: LogQuery = { follow, tail, sinceNs: timeOf(since), untilNs: timeOf(until) };
  let open = tasks.length;
  const ended = () => {
    if (--open === 0) connection.end();
  };
  for (const taskId of tasks) {
    const stop = source(
      taskId,
      query,
      ({ stream: from, timeNs, line }) => {
        const data = line.toString('base64');
        connection.send({ taskId, from, timeNs: String(timeNs), data });
      },
      ended,
    );
    stops.push(stop);
  }
}
