import { Option } from 'commander';
import { DAEMON_OPTIONS } from './option-table.ts';

/** Collects a flag that may be repeated. */
function collect(value: string, before: readonly string[] | undefined): readonly string[] {
  return [...(before ?? []), value];
}

/** The flags of the engine, as a command line takes them. */
export function engineFlags(): Option[] {
  return DAEMON_OPTIONS.map(({ flag, kind, help }) => {
    const option = new Option(flag, help);
    return kind === 'list' || kind === 'pools' || kind === 'map'
      ? option.argParser(collect)
      : option;
  });
}

/** Flags of dockerd that hold in effect or have none: taken, so that its unit files work. */
export function idleFlags(): Option[] {
  return ['--live-restore', '--userland-proxy', '--ip-forward', '--ip6tables'].map((flag) =>
    new Option(`${flag} [flag]`).hideHelp(),
  );
}

/** Values of the flags that were given, by their key in daemon.json. */
export function givenFlags(options: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const entries = DAEMON_OPTIONS.flatMap(({ key, flag }) => {
    const value = options[new Option(flag).attributeName()];
    return value === undefined ? [] : [[key, value] as const];
  });
  return Object.fromEntries(entries);
}
