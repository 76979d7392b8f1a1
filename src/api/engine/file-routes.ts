import type { Clock } from '../../base/clock.ts';
import { unsupported } from '../../base/faults.ts';
import type { Versioned } from '../../control/cluster/cluster-state.ts';
import {
  createFile,
  type FileOrder,
  listFiles,
  needFile,
  removeFile,
  updateFile,
} from '../../control/cluster/files.ts';
import type { ClusterMember } from '../../control/cluster/member.ts';
import type { ClusterFile } from '../../model/cluster.ts';
import type { Fields } from './fields.ts';
import { type Call, created, done, ok, type Route } from './http.ts';
import { Filters } from './query.ts';

type FileKind = ClusterFile['kind'];

const FILTERS = ['id', 'label', 'name', 'names'];

/** A file as clients know it: nobody is shown a secret's data. */
function fileView({ value: file, version }: Versioned<ClusterFile>) {
  const { kind, name, labels, data } = file;
  return {
    ID: file.id,
    Version: { Index: version },
    CreatedAt: file.created,
    UpdatedAt: file.updated,
    Spec: { Name: name, Labels: labels, ...(kind === 'config' && { Data: data }) },
  };
}

function readOrder(kind: FileKind, body: Fields): FileOrder {
  if (body.optionalFields('Driver')) throw unsupported(`${kind} drivers are not served`);
  if (body.optionalFields('Templating')) {
    throw unsupported(`templates in a ${kind} are not served: expand it before it is created`);
  }
  const [name, labels, data] = [body.text('Name'), body.textMap('Labels'), body.text('Data')];
  return { kind, name, labels, data };
}

function calls(member: ClusterMember, kind: FileKind, clock: Clock): Route[] {
  const manager = () => member.needManager();
  const key = ({ parameters }: Call) => parameters['id'] ?? '';
  const list = ({ query }: Call) => {
    const all = listFiles(manager(), kind);
    const filters = Filters.parse(query.text('filters'), FILTERS);
    const fits = ({ value: { id, name, labels } }: Versioned<ClusterFile>) =>
      filters.any('id', (text) => id.startsWith(text)) &&
      filters.any('name', (text) => name.startsWith(text)) &&
      filters.any('names', (text) => name === text) &&
      filters.labels(labels);
    return ok(all.filter(fits).map(fileView));
  };
  const create = async ({ body }: Call) => {
    const to = manager();
    return created({ ID: await createFile(to, readOrder(kind, await body()), clock) });
  };
  const update = async (call: Call) => {
    const to = manager();
    const order = readOrder(kind, await call.body());
    await updateFile(to, key(call), call.query.version(), order, clock);
    return { status: 200 };
  };
  const remove = async (call: Call) => {
    await removeFile(manager(), kind, key(call));
    return done;
  };
  const path = `/${kind}s`;
  return [
    { method: 'GET', path, run: list },
    { method: 'POST', path: `${path}/create`, run: create },
    {
      method: 'GET',
      path: `${path}/:id`,
      run: (call) => ok(fileView(needFile(manager(), kind, key(call)))),
    },
    { method: 'POST', path: `${path}/:id/update`, run: update },
    { method: 'DELETE', path: `${path}/:id`, run: remove },
  ];
}

/** Secrets and configurations of a cluster. */
export function fileRoutes(member: ClusterMember, clock: Clock): Route[] {
  return [...calls(member, 'secret', clock), ...calls(member, 'config', clock)];
}
