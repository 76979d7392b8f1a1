import type { GatewayConfigInput } from '../model/gateway-config.ts';

/** How an importer reads what its file refers to; injected, so that it touches nothing itself. */
export type ImportIo = {
  /** A file's text, or undefined when it cannot be read. */
  readonly readFile: (path: string) => string | undefined;
  /** Why a file cannot be read, such as "permission denied". */
  readonly whyUnreadable?: (path: string) => string | undefined;
  /** Names in a directory, or undefined when it is none. */
  readonly listDirectory?: (path: string) => readonly string[] | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
};

/** What became of one directive. */
export type ReportEntry = {
  /** As it is written, shortened. */
  readonly directive: string;
  readonly file: string;
  /** From 1. */
  readonly line: number;
  /** Always there but for what was translated. */
  readonly reason?: string;
};

/** Every directive of a file, in one of three lists, each in the order of the file. */
export type ImportReport = {
  readonly translated: readonly ReportEntry[];
  /** Translated, but not to quite the same. */
  readonly approximated: readonly ReportEntry[];
  /** Left out. */
  readonly unsupported: readonly ReportEntry[];
};

/** A foreign file in our terms. */
export type ImportResult = {
  readonly config: GatewayConfigInput;
  readonly report: ImportReport;
  /** What the program that the file is for would refuse, too; then `config` is of no use. */
  readonly errors: readonly ReportEntry[];
  /** Lines that objects come from, by path (`listeners.web`, `services.api.endpoints.0`). */
  readonly lines: ReadonlyMap<string, number>;
};

/** Reads a foreign file: its text, its path, and the outside. Never throws on input. */
export type Importer = (text: string, file: string, io: ImportIo) => ImportResult;

const MAX_SHOWN = 120;

/** Gathers what became of the directives of one file. */
export class Reporter {
  readonly #file: string;
  readonly #lists = {
    translated: [] as ReportEntry[],
    approximated: [] as ReportEntry[],
    unsupported: [] as ReportEntry[],
    errors: [] as ReportEntry[],
  };

  constructor(file: string) {
    this.#file = file;
  }

  translated(directive: string, line: number): void {
    this.#add('translated', directive, line);
  }

  approximated(directive: string, line: number, reason: string): void {
    this.#add('approximated', directive, line, reason);
  }

  unsupported(directive: string, line: number, reason: string): void {
    this.#add('unsupported', directive, line, reason);
  }

  error(directive: string, line: number, reason: string): void {
    this.#add('errors', directive, line, reason);
  }

  get errors(): readonly ReportEntry[] {
    return sorted(this.#lists.errors);
  }

  get report(): ImportReport {
    const { translated, approximated, unsupported } = this.#lists;
    // What is in two lists belongs to the worse one.
    const place = ({ line, directive }: ReportEntry) => `${line} ${directive}`;
    const left = new Set(unsupported.map(place));
    const rough = new Set([...left, ...approximated.map(place)]);
    return {
      translated: sorted(translated).filter((one) => !rough.has(place(one))),
      approximated: sorted(approximated).filter((one) => !left.has(place(one))),
      unsupported: sorted(unsupported),
    };
  }

  #add(list: keyof ImportReport | 'errors', directive: string, line: number, reason?: string) {
    const text = directive.replace(/\s+/g, ' ').trim();
    const shown = text.length <= MAX_SHOWN ? text : `${text.slice(0, MAX_SHOWN)}…`;
    const known = this.#lists[list].some(
      (one) => one.line === line && one.directive === shown && one.reason === reason,
    );
    if (known) return;
    const entry = { directive: shown, file: this.#file, line };
    this.#lists[list].push(reason === undefined ? entry : { ...entry, reason });
  }
}

function sorted(entries: readonly ReportEntry[]): ReportEntry[] {
  return entries.toSorted((a, b) => a.line - b.line);
}

/** An entry as `file:line: directive: reason`. */
export function formatEntry({ file, line, directive, reason }: ReportEntry): string {
  return `${file}:${line}: ${directive}${reason === undefined ? '' : `: ${reason}`}`;
}

/** The three lists for people to read: what was translated as a number, the others whole. */
export function formatReport({ translated, approximated, unsupported }: ImportReport): string {
  const list = (title: string, entries: readonly ReportEntry[]) => [
    `${title}: ${entries.length}`,
    ...entries.map((entry) => `  ${formatEntry(entry)}`),
  ];
  return [
    `translated: ${translated.length}`,
    ...list('approximated', approximated),
    ...list('unsupported', unsupported),
  ].join('\n');
}
