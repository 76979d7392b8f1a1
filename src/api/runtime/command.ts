import type { AdminBackend } from '../../client/admin-types.ts';

/** What a connection may say. */
export const LEVELS = ['user', 'operator', 'admin'] as const;
export type Level = (typeof LEVELS)[number];

/** A certificate that was given and is not in force yet, by its file. */
export type Transactions = Map<string, string>;

/** One command as it was said: its words without those that name it. */
export type RuntimeCall = {
  readonly backend: AdminBackend;
  readonly words: readonly string[];
  /** Lines behind `<<`. */
  readonly payload: string | undefined;
  readonly session: RuntimeSession;
  readonly transactions: Transactions;
};

/** What a command may change of its connection. */
export type RuntimeSession = { level: Level; interactive: boolean; over: boolean };

/** A command of the runtime API; the answer as HAProxy words it, with the newlines that it has. */
export type RuntimeCommand = {
  /** The words that name it. */
  readonly name: string;
  /** As `help` shows it, with what is to be said behind the name. */
  readonly usage: string;
  readonly help: string;
  readonly level: Level;
  readonly run: (call: RuntimeCall) => string | Promise<string>;
};

export const NO_BACKEND = 'No such backend.\n';
export const NO_SERVER = 'No such server.\n';
export const NEEDS_SERVER = "Require 'backend/server'.\n";
