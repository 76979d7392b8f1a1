import { createServer, type Server, type Socket } from 'node:net';
import { errorText } from '../../base/errors.ts';
import type { AdminBackend } from '../../client/admin-types.ts';
import { BoundServers, type BoundSocket } from '../bound-servers.ts';
import { CERTIFICATE_COMMANDS } from './certificate-commands.ts';
import { LEVELS, type Level, type RuntimeCommand, type RuntimeSession } from './command.ts';
import { SERVER_COMMANDS } from './server-commands.ts';
import { SESSION_COMMANDS } from './session-commands.ts';
import { SHOW_COMMANDS } from './show-commands.ts';

const MAX_CONNECTIONS = 64;
/** A command with its payload. */
const MAX_INPUT = 1024 * 1024;
/** Source: HAProxy configuration manual, `stats timeout`. */
const IDLE_MS = 10_000;
const PROMPT = '\n> ';
const NO_COMMAND = 'Unknown command. Please enter one of the following commands only:';
const NO_SUCH_COMMAND = 'Unknown command, but maybe one of the following ones is a better match:';

const HELP: RuntimeCommand = {
  name: 'help',
  usage: 'help [<command>]',
  help: 'list matching or all commands',
  level: 'user',
  run: ({ words, session }) =>
    `${listing('The following commands are valid at this level:', words.join(' '), session)}`,
};
const PROMPT_COMMAND: RuntimeCommand = {
  name: 'prompt',
  usage: 'prompt',
  help: 'toggle interactive mode with prompt',
  level: 'user',
  run: ({ session }) => {
    session.interactive = !session.interactive;
    return '';
  },
};
const QUIT: RuntimeCommand = {
  name: 'quit',
  usage: 'quit',
  help: 'disconnect',
  level: 'user',
  run: ({ session }) => {
    session.over = true;
    return '';
  },
};

const COMMANDS: readonly RuntimeCommand[] = [
  ...[...CERTIFICATE_COMMANDS, ...SERVER_COMMANDS, ...SESSION_COMMANDS, ...SHOW_COMMANDS].sort(
    (a, b) => (a.name < b.name ? -1 : 1),
  ),
  ...[HELP, PROMPT_COMMAND, QUIT],
];

function allows(session: RuntimeSession, { level }: RuntimeCommand): boolean {
  return LEVELS.indexOf(session.level) >= LEVELS.indexOf(level);
}

/** The commands that begin as `text` does and may be said; all of them when there are none. */
function listing(title: string, text: string, session: RuntimeSession): string {
  const own = COMMANDS.filter((command) => allows(session, command));
  const matching = own.filter(({ name }) => name.startsWith(text) || text.startsWith(name));
  const shown = new Set([...(matching.length > 0 ? matching : own), HELP, PROMPT_COMMAND, QUIT]);
  const lines = [...shown].map(({ usage, help }) => `  ${usage.padEnd(40)}: ${help}\n`);
  return `${title}\n${lines.join('')}`;
}

/** Splits at spaces; a backslash keeps what follows it in the word. */
function wordsOf(text: string): string[] {
  const found = text.match(/(?:\\.|[^\s\\])+/g) ?? [];
  return found.map((word) => word.replaceAll(/\\(.)/g, '$1'));
}

/** Commands of a line: `;` stands between them, unless behind a backslash. */
function commandsOf(line: string): string[] {
  const parts = line.match(/(?:\\.|[^;\\])+/g) ?? [''];
  return parts.map((part) => part.trim()).filter(Boolean);
}

/** Takes the commands of HAProxy's runtime API, a connection at a time. */
export class RuntimeServer {
  readonly #backend: AdminBackend;
  /** What callers may say. */
  level: Level = 'operator';
  readonly #servers = new BoundServers<Server>();
  readonly #sockets = new Set<Socket>();
  readonly #transactions = new Map<string, string>();

  constructor(backend: AdminBackend) {
    this.#backend = backend;
  }

  /** The addresses where it serves. */
  get addresses(): string[] {
    return this.#servers.addresses;
  }

  /** Serves on sockets that are bound already. Throws `E_BIND_FAILED`. */
  async listen(sockets: readonly BoundSocket[]): Promise<void> {
    for (const socket of sockets) {
      const server = createServer({ allowHalfOpen: true }, (client) => this.#serve(client));
      server.maxConnections = MAX_CONNECTIONS;
      await this.#servers.add(server, socket);
    }
  }

  /** Takes no new connections at an address. */
  leaveAddress(address: string): void {
    this.#servers.leave(address);
  }

  /** Takes no new connections. */
  leave(): void {
    this.#servers.leaveAll();
  }

  close(): void {
    this.leave();
    for (const socket of this.#sockets) socket.destroy();
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => this.#sockets.delete(socket));
    socket.setTimeout(IDLE_MS, () => socket.destroy());
    const session = { level: this.level, interactive: false, over: false };
    new Conversation(socket, session, (text, payload) => this.#run(text, payload, session));
  }

  async #run(text: string, payload: string | undefined, session: RuntimeSession): Promise<string> {
    // Prefixes of a master process name this one.
    const words = wordsOf(text.replace(/^@\S+\s+/, ''));
    const command = COMMANDS.filter(({ name }) =>
      name.split(' ').every((word, at) => words[at] === word),
    ).reduce<RuntimeCommand | undefined>(
      (best, one) => (best && best.name.length > one.name.length ? best : one),
      undefined,
    );
    if (!command) {
      const why = words.length === 0 ? NO_COMMAND : NO_SUCH_COMMAND;
      return listing(why, words.join(' '), session);
    }
    if (!allows(session, command)) return 'Permission denied\n';
    const rest = words.slice(command.name.split(' ').length);
    const transactions = this.#transactions;
    return command.run({ backend: this.#backend, words: rest, payload, session, transactions });
  }
}

/** One connection: a line, its answers and the end; with a prompt, line after line. */
class Conversation {
  readonly #socket: Socket;
  readonly #session: RuntimeSession;
  readonly #run: (text: string, payload: string | undefined) => Promise<string>;
  #input = '';
  #busy = false;
  #ended = false;

  constructor(
    socket: Socket,
    session: RuntimeSession,
    run: (text: string, payload: string | undefined) => Promise<string>,
  ) {
    this.#socket = socket;
    this.#session = session;
    this.#run = run;
    socket.setEncoding('utf8');
    socket.on('data', (text: string) => {
      this.#input += text;
      if (this.#input.length > MAX_INPUT) socket.destroy();
      else void this.#read();
    });
    socket.on('end', () => {
      this.#ended = true;
      if (this.#input !== '' && !this.#input.endsWith('\n')) this.#input += '\n';
      void this.#read();
    });
  }

  async #read(): Promise<void> {
    if (this.#busy) return;
    this.#busy = true;
    for (;;) {
      const next = this.#next();
      if (!next || this.#socket.destroyed) break;
      await this.#answer(next.line, next.payload);
      if (this.#session.over || !this.#session.interactive) {
        this.#socket.end();
        return;
      }
    }
    this.#busy = false;
    if (this.#ended) this.#socket.end();
  }

  /** The next line that is complete, with its payload: up to an empty line behind `<<`. */
  #next(): { line: string; payload: string | undefined } | undefined {
    const end = this.#input.indexOf('\n');
    if (end < 0) return undefined;
    const line = this.#input.slice(0, end).trim();
    const rest = this.#input.slice(end + 1);
    if (!line.endsWith('<<')) {
      this.#input = rest;
      return { line, payload: undefined };
    }
    const empty = /(^|\n)\r?\n/.exec(rest);
    if (!empty && !this.#ended) return undefined;
    const size = empty ? empty.index : rest.length;
    this.#input = rest.slice(size + (empty?.[0].length ?? 0));
    return { line: line.slice(0, -2).trim(), payload: `${rest.slice(0, size)}\n` };
  }

  async #answer(line: string, payload: string | undefined): Promise<void> {
    const commands = commandsOf(line);
    for (const text of commands.length === 0 ? [''] : commands) {
      const answer = await this.#run(text, payload).catch((error) => `${errorText(error)}\n`);
      if (this.#session.over) return;
      this.#socket.write(`${answer}${this.#session.interactive ? PROMPT : '\n'}`);
    }
  }
}
