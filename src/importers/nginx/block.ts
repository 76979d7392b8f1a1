import type { ImportIo } from '../report.ts';
import { named, type Scope } from './directive.ts';
import type { Findings } from './findings.ts';
import { mapsOf, type VariableMap } from './maps.ts';
import type { ListenerInput, ServiceInput } from './matching.ts';
import { Services } from './services.ts';
import { upstreamsOf } from './upstreams.ts';

/** What an importer gathers: named parts, and the lines that they come from. */
export type Outcome = {
  readonly listeners: Map<string, ListenerInput>;
  readonly services: Map<string, ServiceInput>;
  readonly lines: Map<string, number>;
};

/** How the outside of the file is reached. */
export type Reach = {
  readonly io: ImportIo;
  /** A file's path as the configuration means it. */
  readonly pathOf: (file: string) => string;
};

/** An `http` or `stream` block: its servers, and what all of them draw on. */
export type Block = {
  readonly servers: readonly Scope[];
  readonly services: Services;
  readonly maps: ReadonlyMap<string, VariableMap>;
  readonly reach: Reach;
  readonly findings: Findings;
};

export function readBlock(scope: Scope, outcome: Outcome, reach: Reach, findings: Findings): Block {
  const servers = named(scope.own, 'server').map((one) => scope.inner(one));
  for (const { directive } of servers) findings.translated(directive);
  const services = new Services(upstreamsOf(scope), findings, outcome);
  return { servers, services, maps: mapsOf(scope), reach, findings };
}
