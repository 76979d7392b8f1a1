import { invalid, unsupported } from '../../base/faults.ts';
import type { MountOrder, MountRequest } from '../../control/volumes.ts';
import type { Fields } from './fields.ts';

const PROPAGATIONS = ['private', 'rprivate', 'shared', 'rshared', 'slave', 'rslave'];
/** Options of a mount in its short form; the first two say whether it can be written. */
const MODES = ['rw', 'ro', 'nocopy', 'z', 'Z', ...PROPAGATIONS];
/** Says how soon others see a change, on systems where that is slow. */
const CONSISTENCIES = ['consistent', 'cached', 'delegated', 'default'];
const OCTAL = 8;

function invalidSpecification(text: string): Error {
  return invalid(`invalid volume specification: '${text}'`);
}

/** `source:target[:options]`, or a target alone, which gets a volume of its own. */
function shortMount(text: string): MountRequest {
  const parts = text.split(':');
  const [source = '', target = '', mode = ''] = parts.length === 1 ? ['', ...parts] : parts;
  if (parts.length > 3 || !target.startsWith('/') || (source === '' && parts.length > 1)) {
    throw invalidSpecification(text);
  }
  if (/^\/+$/.test(target))
    throw invalid(`${invalidSpecification(text).message}: destination can't be '/'`);
  const options = mode.split(',').filter((one) => one !== '');
  const isPath = source.startsWith('/');
  for (const one of options) {
    const wrongKind = isPath ? one === 'nocopy' : PROPAGATIONS.includes(one);
    if (!MODES.includes(one) || wrongKind) throw invalid(`invalid mode: ${mode}`);
  }
  return {
    kind: isPath ? 'bind' : 'volume',
    source,
    target,
    readOnly: options.includes('ro'),
    options: options.filter((one) => one !== 'ro' && one !== 'rw'),
    mode: mode || (isPath ? '' : 'z'),
    ...(isPath ? { makeSource: true } : {}),
  };
}

function tmpfsOptions(options: Fields): string[] {
  const [bytes, mode] = [options.number('SizeBytes'), options.number('Mode')];
  return [
    ...(bytes > 0 ? [`size=${bytes}`] : []),
    ...(mode > 0 ? [`mode=${mode.toString(OCTAL)}`] : []),
  ];
}

function bindOptions(options: Fields): Pick<MountRequest, 'options' | 'makeSource'> {
  const propagation = options.text('Propagation');
  if (propagation !== '' && !PROPAGATIONS.includes(propagation)) {
    throw invalid(`invalid mount config for type "bind": invalid propagation mode: ${propagation}`);
  }
  return {
    options: propagation === '' ? [] : [propagation],
    ...(options.flag('CreateMountpoint') ? { makeSource: true } : {}),
  };
}

function volumeOptions(options: Fields): Pick<MountRequest, 'options' | 'volume' | 'mode'> {
  if (options.text('Subpath') !== '') throw unsupported('a part of a volume cannot be mounted');
  const driver = options.fields('DriverConfig');
  return {
    options: options.flag('NoCopy') ? ['nocopy'] : [],
    mode: 'z',
    volume: {
      driver: driver.text('Name'),
      options: driver.textMap('Options'),
      labels: options.textMap('Labels'),
    },
  };
}

/** The long form. */
export function longMount(fields: Fields): MountRequest {
  const kind = fields.text('Type');
  if (kind !== 'bind' && kind !== 'volume' && kind !== 'tmpfs') {
    throw unsupported(`mounts of type ${kind} are not served: bind, volume and tmpfs are`);
  }
  const fault = (reason: string) => invalid(`invalid mount config for type "${kind}": ${reason}`);
  const [source, target] = [fields.text('Source'), fields.text('Target')];
  if (target === '') throw fault('field Target must not be empty');
  if (!target.startsWith('/'))
    throw fault(`invalid mount path: '${target}' mount path must be absolute`);
  if (/^\/+$/.test(target)) throw fault("destination can't be '/'");
  if (kind === 'bind' && source === '') throw fault('field Source must not be empty');
  if (kind === 'bind' && !source.startsWith('/')) {
    throw fault(`invalid mount path: '${source}' mount path must be absolute`);
  }
  if (kind === 'tmpfs' && source !== '') throw fault('field Source must not be specified');
  const consistency = fields.text('Consistency');
  if (consistency !== '' && !CONSISTENCIES.includes(consistency)) {
    throw fault(`invalid consistency: ${consistency}`);
  }
  const common = { kind, source, target, readOnly: fields.flag('ReadOnly'), mode: '' } as const;
  if (kind === 'bind') return { ...common, ...bindOptions(fields.fields('BindOptions')) };
  if (kind === 'volume') return { ...common, ...volumeOptions(fields.fields('VolumeOptions')) };
  return { ...common, options: tmpfsOptions(fields.fields('TmpfsOptions')) };
}

function tmpfs([target, options]: readonly [string, string]): MountRequest {
  if (!target.startsWith('/'))
    throw invalid(`invalid mount path: '${target}' mount path must be absolute`);
  const list = options.split(',').filter((one) => one !== '');
  return { kind: 'tmpfs', source: '', target, readOnly: list.includes('ro'), options: list };
}

/** The mounts that a body asks for. */
export function mountOrder(body: Fields): MountOrder {
  const host = body.fields('HostConfig');
  return {
    mounts: [
      ...host.texts('Binds').map(shortMount),
      ...host.objects('Mounts').map(longMount),
      ...Object.entries(host.textMap('Tmpfs')).map(tmpfs),
    ],
    from: host.texts('VolumesFrom'),
    anonymous: Object.keys(body.fields('Volumes').raw),
  };
}
