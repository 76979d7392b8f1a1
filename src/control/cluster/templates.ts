import { invalid } from '../../base/faults.ts';
import type { ClusterTask, NodeDescription } from '../../model/cluster.ts';
import type { ContainerTemplate } from '../../model/container.ts';

/** What templates in a task's specification may speak of. */
export type TemplateContext = {
  readonly service: {
    readonly id: string;
    readonly name: string;
    readonly labels: Readonly<Record<string, string>>;
  };
  readonly node: { readonly id: string } & Pick<NodeDescription, 'hostname' | 'os' | 'arch'>;
  readonly task: { readonly id: string; readonly name: string; readonly slot: string };
};

type Value = string | Readonly<Record<string, string>>;

const INDEX = /^index\s+(\.[\w.]+)\s+"([^"]*)"$/;
const JOIN = /^join\s+"([^"]*)"((?:\s+(?:\.[\w.]+|"[^"]*"))+)$/;

function fieldsOf({ service, node, task }: TemplateContext): ReadonlyMap<string, Value> {
  return new Map<string, Value>([
    ['.Service.ID', service.id],
    ['.Service.Name', service.name],
    ['.Service.Labels', service.labels],
    ['.Node.ID', node.id],
    ['.Node.Hostname', node.hostname],
    ['.Node.Platform.OS', node.os],
    ['.Node.Platform.Architecture', node.arch],
    ['.Task.ID', task.id],
    ['.Task.Name', task.name],
    ['.Task.Slot', task.slot],
  ]);
}

function label(labels: Value | undefined, key: string, expression: string): string {
  if (typeof labels !== 'object') throw invalid(`"${expression}" reads no labels`);
  const found = Object.hasOwn(labels, key) ? labels[key] : undefined;
  if (found === undefined) throw invalid(`the service has no label "${key}"`);
  return found;
}

function evaluate(expression: string, fields: ReadonlyMap<string, Value>): string {
  const [, path, key] = INDEX.exec(expression) ?? [];
  if (path !== undefined && key !== undefined) return label(fields.get(path), key, expression);
  const [, separator, rest] = JOIN.exec(expression) ?? [];
  if (separator !== undefined && rest !== undefined) {
    const parts = rest.match(/\.[\w.]+|"[^"]*"/g) ?? [];
    const one = (part: string) =>
      part.startsWith('"') ? part.slice(1, -1) : evaluate(part, fields);
    return parts.map(one).join(separator);
  }
  const [, labelKey] = /^\.Service\.Labels\.(\w+)$/.exec(expression) ?? [];
  if (labelKey !== undefined) return label(fields.get('.Service.Labels'), labelKey, expression);
  const value = fields.get(expression);
  if (typeof value === 'string') return value;
  throw invalid(`"{{${expression}}}" is not known; there are ${[...fields.keys()].join(', ')}`);
}

/** Replaces each `{{…}}`. Throws when one is not understood or has no value. */
export function expand(text: string, context: TemplateContext): string {
  if (!text.includes('{{')) return text;
  const fields = fieldsOf(context);
  const expanded = text.replaceAll(/\{\{-?\s*(.*?)\s*-?\}\}/g, (_, expression: string) =>
    evaluate(expression, fields),
  );
  if (expanded.includes('{{')) throw invalid(`"${text}" has no end of a template`);
  return expanded;
}

/** A container with its templates expanded: host name, values of variables, mounts. */
export function expandSpec(spec: ContainerTemplate, context: TemplateContext): ContainerTemplate {
  const within = (what: string, text: string) => {
    try {
      return expand(text, context);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw invalid(`expanding ${what} failed: ${reason}`);
    }
  };
  return {
    ...spec,
    hostname: within('hostname', spec.hostname),
    env: spec.env.map((entry) => {
      const [name = '', value] = entry.split(/=(.*)/s, 2);
      return value === undefined ? entry : `${name}=${within('env', value)}`;
    }),
    mounts: spec.mounts.map((mount) => ({
      ...mount,
      source: within('mounts', mount.source),
      target: within('mounts', mount.target),
    })),
  };
}

type Placed = Pick<ClusterTask, 'slot' | 'nodeId' | 'iteration'>;

/** The number of a slot as users see it: those of a job are counted from 0. */
export function shownSlot({ slot, iteration }: Pick<Placed, 'slot' | 'iteration'>): number {
  return iteration === undefined ? slot : slot - 1;
}

/** Which of a service's tasks one is, and those that it follows: its slot, or its node. */
export function placeOf(task: Placed): string {
  return task.slot === 0 ? task.nodeId : String(shownSlot(task));
}

/** What a task's templates may speak of. */
export function contextOf(
  task: ClusterTask,
  service: { readonly name: string; readonly labels: Readonly<Record<string, string>> },
  description: NodeDescription,
): TemplateContext {
  const { id, serviceId, nodeId } = task;
  const place = placeOf(task);
  const { hostname, os, arch } = description;
  return {
    service: { id: serviceId, ...service },
    node: { id: nodeId, hostname, os, arch },
    task: { id, name: `${service.name}.${place}.${id}`, slot: place },
  };
}
