import type { Clock } from '../../base/clock.ts';
import { invalid } from '../../base/faults.ts';
import { type ClusterFile, type ClusterService, KIND } from '../../model/cluster.ts';
import { transact } from '../../store/edit.ts';
import { stamp } from '../ids.ts';
import { filesOf, need, servicesOf, type Versioned } from './cluster-state.ts';
import { namedSecrets } from './http-labels.ts';
import { newClusterId } from './identity/tokens.ts';
import type { ManagerPart } from './manager.ts';
import { checkRoom, claimName, releaseName } from './object-names.ts';
import { alreadyExists, invalidArgument, outOfSequence, replace } from './refusals.ts';

type FileKind = ClusterFile['kind'];

/** A secret or configuration as it is asked for; `data` in base 64. */
export type FileOrder = Pick<ClusterFile, 'kind' | 'name' | 'labels' | 'data'>;

/** Bytes that a file's data stays below. */
const TOO_LARGE = { secret: 512_000, config: 1_024_000 } as const;
const NAME = /^[a-zA-Z0-9](?:[\w.-]{0,62}[a-zA-Z0-9])?$/;
const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/;

function check({ kind, name, data }: FileOrder): void {
  if (name === '') throw invalidArgument('name must be provided');
  if (!NAME.test(name)) {
    throw invalidArgument(
      'invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, and the start and end character must be [a-zA-Z0-9]',
    );
  }
  if (!BASE64.test(data)) throw invalid(`the data of ${kind} ${name} is not base 64`);
  const bytes = Buffer.from(data, 'base64').length;
  if (bytes > 0 && bytes < TOO_LARGE[kind]) return;
  throw invalidArgument(
    `${kind} data must be larger than 0 and less than ${TOO_LARGE[kind]} bytes`,
  );
}

/** All of one kind. */
export function listFiles({ store }: ManagerPart, kind: FileKind): Versioned<ClusterFile>[] {
  return filesOf(store).filter(({ value }) => value.kind === kind);
}

/** By id, by name or by the beginning of an id. Throws when there is none or are several. */
export function needFile(manager: ManagerPart, kind: FileKind, key: string) {
  return need(listFiles(manager, kind), key, kind);
}

/** The id of the new file. */
export async function createFile(
  manager: ManagerPart,
  order: FileOrder,
  clock: Clock,
): Promise<string> {
  const { kind, name, labels } = order;
  check(order);
  const id = newClusterId();
  const now = stamp(clock);
  const data = kind === 'secret' ? manager.keys.sealFile({ id, data: order.data }) : order.data;
  const value: ClusterFile = { id, name, labels, created: now, updated: now, kind, data };
  await transact(manager.store, () => {
    const others = listFiles(manager, kind);
    checkRoom(others.length, kind);
    if (others.some((other) => other.value.name === name)) {
      throw alreadyExists(`${kind} ${name} already exists`);
    }
    return [{ kind: KIND.file, id, value, expected: 0 }, claimName(kind, name, id)];
  });
  return id;
}

/** Takes other labels; everything else must be as it is, or empty. */
export async function updateFile(
  manager: ManagerPart,
  key: string,
  version: number,
  { kind, name, labels, data }: FileOrder,
  clock: Clock,
): Promise<void> {
  const { value: file, version: found } = needFile(manager, kind, key);
  const sameData = data === '' || data === manager.keys.openFile(file).data;
  if ((name !== '' && name !== file.name) || !sameData) {
    throw invalidArgument('only updates to Labels are allowed');
  }
  if (found !== version) throw outOfSequence();
  const value: ClusterFile = { ...file, labels, updated: stamp(clock) };
  await replace(manager.store, { kind: KIND.file, id: file.id, value, expected: found });
}

function refersTo({ spec, labels }: ClusterService, { id, kind, name }: ClusterFile): boolean {
  if (kind === 'secret' && namedSecrets(labels).includes(name)) return true;
  return spec.template.files.some((one) => one.id === id);
}

/** Throws while a service refers to it. */
export async function removeFile(manager: ManagerPart, kind: FileKind, key: string): Promise<void> {
  await transact(manager.store, () => {
    const { value: file, version } = needFile(manager, kind, key);
    const users = servicesOf(manager.store)
      .filter(({ value }) => refersTo(value, file))
      .map(({ value }) => value.name);
    if (users.length > 0) {
      const services = users.length === 1 ? 'service' : 'services';
      throw invalidArgument(
        `${kind} '${file.name}' is in use by the following ${services}: ${users.join(', ')}`,
      );
    }
    return [
      { kind: KIND.file, id: file.id, value: undefined, expected: version },
      releaseName(kind, file.name),
    ];
  });
}
