import type { Command } from 'commander';
import { AdminClient } from '../client/admin-client.ts';
import type { ConfigIo } from '../config/load.ts';

/** One thing that the node agent needs of the host. */
export type HostNeed = {
  readonly name: string;
  readonly purpose: string;
  readonly available: boolean;
  readonly required: boolean;
  /** What was found, or how to get it. */
  readonly detail: string;
};

/** Exit statuses: besides 0, what went wrong. */
export const STATUS = { failed: 1, usage: 2, unreachable: 3 } as const;

/** The terminal that a live view draws on. */
export type Screen = {
  readonly isTty: boolean;
  size(): { columns: number; rows: number };
  write(text: string): void;
  /** Calls `done` at `q`, Ctrl-C or SIGTERM; the result takes that back. */
  onQuit(done: () => void): () => void;
};

/** Where the command line speaks and reads. */
export type CliIo = {
  readonly config: ConfigIo;
  readonly writeFile: (path: string, text: string) => void;
  readonly admin: string | undefined;
  readonly token: string | undefined;
  /** Address of the engine; undefined: the usual socket. */
  readonly engine: string | undefined;
  /** Passes bytes of a container on. */
  readonly write: (stream: 'stdout' | 'stderr', data: Buffer) => void;
  /** What is to be read from the user, in order, until its end. */
  readonly input: () => AsyncIterable<Buffer>;
  readonly version: string;
  readonly print: (text: string) => void;
  /** Says what is wrong and sets the exit status. */
  readonly fail: (text: string, status?: number) => void;
  /** Says what deserves a look; the exit status stays. */
  readonly warn: (text: string) => void;
  readonly screen: Screen;
  /** Looks at what an agent of that prefix needs of this host. */
  readonly examineHost: (prefix: string) => Promise<readonly HostNeed[]>;
};

/** What every command is given. */
export type Context = {
  readonly io: CliIo;
  readonly client: () => AdminClient;
  readonly json: () => boolean;
  /** Prints a value as JSON when that is asked for, else its text. */
  readonly show: (value: unknown, text: string) => void;
};

type Common = { admin: string; json?: boolean };

/** The context of the commands of a program. */
export function contextOf(program: Command, io: CliIo): Context {
  const json = () => program.opts<Common>().json === true;
  return {
    io,
    client: () => new AdminClient(program.opts<Common>().admin, io.token),
    json,
    show: (value, text) => io.print(json() ? JSON.stringify(value, null, 2) : text),
  };
}
