import { DatabaseSync } from 'node:sqlite';
import { errorText, SluiceError } from '../base/errors.ts';

/** An object as it is kept, with the version that its next writer has to name. */
export type Stored = { readonly id: string; readonly version: number; readonly value: unknown };

/** One change of a transaction; without a value the object goes. */
export type Change = {
  readonly kind: string;
  readonly id: string;
  readonly value: unknown;
  /** The version that was read; 0: it must be new; undefined: whatever it is. */
  readonly expected?: number | undefined;
};

const SCHEMA_VERSION = 1;
const SCHEMA = `
  CREATE TABLE IF NOT EXISTS objects (
    kind TEXT NOT NULL, id TEXT NOT NULL, version INTEGER NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY (kind, id)
  ) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS counter (one INTEGER PRIMARY KEY CHECK (one = 1), version INTEGER);
  INSERT OR IGNORE INTO counter VALUES (1, 0);
`;

function statementsOf(database: DatabaseSync) {
  return {
    begin: database.prepare('BEGIN IMMEDIATE'),
    commit: database.prepare('COMMIT'),
    count: database.prepare('UPDATE counter SET version = ?'),
    find: database.prepare('SELECT version FROM objects WHERE kind = ? AND id = ?'),
    drop: database.prepare('DELETE FROM objects WHERE kind = ? AND id = ?'),
    put: database.prepare('INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?)'),
  };
}

type Statements = ReturnType<typeof statementsOf>;

/**
 * Versioned JSON objects in one file, safe against the death of the process and of the machine:
 * a transaction is there as a whole or not at all once `write` has returned. One process at a time.
 */
export class EmbeddedStore {
  readonly #database: DatabaseSync;
  /** Prepared once: to prepare costs more than to run. */
  readonly #statements: Statements;
  #version: number;

  private constructor(database: DatabaseSync, version: number) {
    this.#database = database;
    this.#statements = statementsOf(database);
    this.#version = version;
  }

  /** `:memory:` keeps nothing. Throws `E_STORE_FAILED`. */
  static open(path: string): EmbeddedStore {
    try {
      const database = new DatabaseSync(path);
      database.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL;');
      database.exec('PRAGMA synchronous = FULL;');
      const { user_version: found } = database.prepare('PRAGMA user_version').get() ?? {};
      if (Number(found) > SCHEMA_VERSION) {
        throw new Error(`it was written by a newer version (schema ${found})`);
      }
      database.exec(`BEGIN IMMEDIATE; ${SCHEMA} PRAGMA user_version = ${SCHEMA_VERSION}; COMMIT`);
      const { version } = database.prepare('SELECT version FROM counter').get() ?? {};
      return new EmbeddedStore(database, Number(version));
    } catch (error) {
      const hint = /locked|busy/.test(errorText(error))
        ? 'another daemon uses this data folder; give each its own --data-root'
        : undefined;
      throw new SluiceError(
        'E_STORE_FAILED',
        `cannot open the store ${path}: ${errorText(error)}${hint ? `; ${hint}` : ''}`,
        { cause: error },
      );
    }
  }

  /** The version of the latest change. */
  get version(): number {
    return this.#version;
  }

  /** Every object of a kind, by id. */
  list(kind: string): Stored[] {
    const rows = this.#database
      .prepare('SELECT id, version, value FROM objects WHERE kind = ? ORDER BY id')
      .all(kind);
    return rows.map(({ id, version, value }) => ({
      id: String(id),
      version: Number(version),
      value: JSON.parse(String(value)),
    }));
  }

  /** Every object of every kind. */
  all(): { kind: string; object: Stored }[] {
    const kinds = this.#database.prepare('SELECT DISTINCT kind FROM objects').all();
    return kinds.flatMap(({ kind }) =>
      this.list(String(kind)).map((object) => ({ kind: String(kind), object })),
    );
  }

  /** Makes all changes or none. Returns their version. Throws `E_STORE_STALE`, `E_STORE_FAILED`. */
  write(changes: readonly Change[]): number {
    const version = this.#version + 1;
    const { begin, count, commit } = this.#statements;
    try {
      begin.run();
      for (const change of changes) this.#apply(change, version);
      count.run(version);
      commit.run();
    } catch (error) {
      // A full disk has made SQLite take it back already.
      if (this.#database.isTransaction) this.#database.exec('ROLLBACK');
      if (error instanceof SluiceError) throw error;
      throw new SluiceError(
        'E_STORE_FAILED',
        `the state cannot be written, nothing is changed: ${errorText(error)}`,
        {
          cause: error,
        },
      );
    }
    this.#version = version;
    return version;
  }

  close(): void {
    this.#database.close();
  }

  #apply({ kind, id, value, expected }: Change, version: number): void {
    const { find, drop, put } = this.#statements;
    if (expected !== undefined) {
      const found = Number(find.get(kind, id)?.['version'] ?? 0);
      if (found !== expected) {
        throw new SluiceError(
          'E_STORE_STALE',
          `${kind} ${id} is at version ${found}, not ${expected}: read it again`,
        );
      }
    }
    if (value === undefined) drop.run(kind, id);
    else put.run(kind, id, version, JSON.stringify(value));
  }
}
