import type { ImportReport, ReportEntry } from '../report.ts';
import { type Directive, written } from './directive.ts';

type Kind = 'translated' | 'approximated' | 'unsupported' | 'errors';
type Verdict = { kind: Kind; readonly reasons: Set<string>; readonly entry: ReportEntry };

const ORDER: readonly Kind[] = ['translated', 'approximated', 'unsupported', 'errors'];
const MAX_SHOWN = 120;
const MAX_REASONS = 5;

/** What became of each directive; of several verdicts the worst counts, with all its reasons. */
export class Findings {
  readonly #verdicts = new Map<string, Verdict>();

  translated(...directives: readonly (Directive | undefined)[]): void {
    for (const one of directives) if (one) this.#judge(one, 'translated');
  }

  /** It has been translated to something that is not quite the same. */
  approximated(directive: Directive | undefined, reason: string): void {
    if (directive) this.#judge(directive, 'approximated', reason);
  }

  /** It has been left out. */
  unsupported(directive: Directive | undefined, reason: string): void {
    if (directive) this.#judge(directive, 'unsupported', reason);
  }

  /** nginx would refuse it. */
  error(directive: Directive, reason: string): void {
    this.#judge(directive, 'errors', reason);
  }

  has(directive: Directive): boolean {
    return this.#verdicts.has(keyOf(directive));
  }

  get report(): ImportReport {
    return {
      translated: this.#list('translated'),
      approximated: this.#list('approximated'),
      unsupported: this.#list('unsupported'),
    };
  }

  get errors(): readonly ReportEntry[] {
    return this.#list('errors');
  }

  #judge(directive: Directive, kind: Kind, reason?: string): void {
    const key = keyOf(directive);
    const text = written(directive).replaceAll(/\s+/g, ' ');
    const shown = text.length <= MAX_SHOWN ? text : `${text.slice(0, MAX_SHOWN)}…`;
    const { file, line } = directive;
    const known = this.#verdicts.get(key);
    const verdict = known ?? {
      kind,
      reasons: new Set<string>(),
      entry: { directive: shown, file, line },
    };
    this.#verdicts.set(key, verdict);
    if (ORDER.indexOf(kind) > ORDER.indexOf(verdict.kind)) {
      verdict.kind = kind;
      verdict.reasons.clear();
    }
    const more = kind === verdict.kind && verdict.reasons.size < MAX_REASONS;
    if (reason !== undefined && more) verdict.reasons.add(reason);
  }

  #list(kind: Kind): ReportEntry[] {
    return [...this.#verdicts.values()]
      .filter((one) => one.kind === kind)
      .map(({ entry, reasons }) =>
        reasons.size === 0 ? entry : { ...entry, reason: [...reasons].join('; ') },
      )
      .sort((a, b) => (a.file === b.file ? a.line - b.line : a.file < b.file ? -1 : 1));
  }
}

/** The same line of a file that is included twice is one. */
function keyOf(directive: Directive): string {
  return `${directive.file}\0${directive.line}\0${written(directive)}`;
}
