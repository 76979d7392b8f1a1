import { contains, parseAddress, parsePrefix } from '../../../ipam/cidr.ts';
import { bare } from '../../../model/address.ts';
import type { ClusterNode } from '../../../model/cluster.ts';
import { invalidArgument } from '../refusals.ts';
import type { Obstacle } from './obstacle.ts';

/** A condition that a task makes on its node. */
export type Constraint = {
  readonly key: string;
  /** `==`; otherwise `!=`. */
  readonly equal: boolean;
  readonly value: string;
};

const KEY = /^[a-z_][a-z0-9\-_.]+$/i;
const VALUE = /^[a-z0-9:\-_\s.*()?+[\]\\^$|/]+$/i;
const NODE_LABEL = 'node.labels.';
const ENGINE_LABEL = 'engine.labels.';
const ARCHITECTURES: Readonly<Record<string, string>> = { amd64: 'x86_64', arm64: 'aarch64' };

/**
 * Reads `key==value` or `key!=value`. Throws `E_REQUEST_INVALID` with the text that is faulty.
 * Source: the Engine's documentation of `--constraint`.
 */
export function parseConstraint(text: string): Constraint {
  const at = text.includes('==') ? text.indexOf('==') : text.indexOf('!=');
  if (at < 0) {
    throw invalidArgument(`constraint expected one operator from ==, !=: "${text}" has none`);
  }
  const key = text.slice(0, at).trim();
  const value = text.slice(at + 2).trim();
  if (!KEY.test(key)) throw invalidArgument(`key '${key}' is invalid in constraint "${text}"`);
  if (!VALUE.test(value))
    throw invalidArgument(`value '${value}' is invalid in constraint "${text}"`);
  return { key, equal: text[at] === '=', value };
}

/** As `parseConstraint`; one that cannot be read is met by no node. */
export function readConstraint(text: string): Constraint {
  try {
    return parseConstraint(text);
  } catch {
    return { key: text, equal: true, value: '' };
  }
}

/** The usual one of the names that a processor's architecture has. */
function architecture(name: string): string {
  const lower = name.toLowerCase();
  return ARCHITECTURES[lower] ?? lower;
}

function label(labels: Readonly<Record<string, string>>, key: string): string {
  return Object.hasOwn(labels, key) ? (labels[key] ?? '') : '';
}

/**
 * What a key stands for at a node: `node.id`, `node.hostname`, `node.role`, `node.platform.os`,
 * `node.platform.arch`, `node.labels.X` or `engine.labels.X`; a label that is missing is empty.
 * Undefined: no node has such a key.
 */
export function attributeOf(node: ClusterNode, key: string): string | undefined {
  const { description } = node;
  const lower = key.toLowerCase();
  if (lower.startsWith(NODE_LABEL)) return label(node.labels, key.slice(NODE_LABEL.length));
  if (lower.startsWith(ENGINE_LABEL)) {
    return label(description.engineLabels, key.slice(ENGINE_LABEL.length));
  }
  switch (lower) {
    case 'node.id':
      return node.id;
    case 'node.hostname':
      return description.hostname;
    case 'node.role':
      return node.role;
    case 'node.platform.os':
      return description.os;
    case 'node.platform.arch':
      return architecture(description.arch);
    default:
      return undefined;
  }
}

function isWithin(address: string, text: string): boolean | undefined {
  const [own, one] = [parseAddress(bare(address)), parseAddress(text)];
  const block = one ? undefined : parsePrefix(text)?.cidr;
  if (!own || (!one && !block)) return undefined;
  return block ? contains(block, own) : own.family === one?.family && own.value === one.value;
}

/** Whether a node is one of `OS/ARCHITECTURE|…`, where `*` is any. */
function isPlatform({ description: { os, arch } }: ClusterNode, text: string): boolean {
  return text.split('|').some((one) => {
    const [wantedOs = '', wantedArch = ''] = one.split('/');
    const fits = (wanted: string, own: string) => wanted === '*' || wanted.toLowerCase() === own;
    return fits(wantedOs, os.toLowerCase()) && fits(architecture(wantedArch), architecture(arch));
  });
}

/** Whether a node fits; letters' case does not count. An unknown key and a faulty address never fit. */
export function meets(node: ClusterNode, { key, equal, value }: Constraint): boolean {
  const lower = key.toLowerCase();
  if (lower === 'node.ip') return isWithin(node.address, value) === equal;
  if (lower === 'node.platform') return isPlatform(node, value) === equal;
  const found = attributeOf(node, key);
  if (found === undefined) return false;
  const wanted = lower === 'node.platform.arch' ? architecture(value) : value;
  return (found.toLowerCase() === wanted.toLowerCase()) === equal;
}

/** What is said of a node that does not meet a constraint. */
export function obstacleOf({ key, equal, value }: Constraint): Obstacle {
  const lower = key.toLowerCase();
  const reason =
    lower === 'node.platform'
      ? 'unsupported platform on %'
      : 'scheduling constraints not satisfied on %';
  for (const [head, what] of [
    [NODE_LABEL, 'label'],
    [ENGINE_LABEL, 'engine label'],
  ] as const) {
    if (!lower.startsWith(head)) continue;
    const text = `${what} ${key.slice(head.length)}=${value}`;
    const [one, many] = equal ? ['misses', 'miss'] : ['has', 'have'];
    return { reason, one: `${one} ${text}`, many: `${many} ${text}` };
  }
  const text = `meet ${key}${equal ? '==' : '!='}${value}`;
  return { reason, one: `does not ${text}`, many: `do not ${text}` };
}
