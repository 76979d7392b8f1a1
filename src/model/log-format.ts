/**
 * Fields of HAProxy's custom log formats that the access log knows.
 * Source: HAProxy configuration manual, section 8.2.6, "Custom log format".
 */
export const LOG_FORMAT_FIELDS = [
  ...['B', 'CC', 'CS', 'H', 'HM', 'HP', 'HPO', 'HQ', 'HU', 'HV', 'ID', 'ST', 'T', 'TR', 'Ta', 'Tc'],
  ...['Td', 'Th', 'Ti', 'Tl', 'Tq', 'Tr', 'Ts', 'Tt', 'Tu', 'Tw', 'U', 'ac', 'b', 'bc', 'bq', 'ci'],
  ...['cp', 'f', 'fc', 'fi', 'fp', 'ft', 'hr', 'hrl', 'hs', 'hsl', 'ms', 'pid', 'r', 'rc', 's'],
  ...['sc', 'si', 'sp', 'sq', 'sslc', 'sslv', 't', 'tr', 'trg', 'trl', 'ts', 'tsc'],
] as const;

export type LogFormatField = (typeof LOG_FORMAT_FIELDS)[number];

/** A piece of a line: text as it stands, or a field. */
export type LogFormatPart = string | { readonly field: LogFormatField; readonly quoted: boolean };

const FIELD = /^%(?:\{([^}]*)\})?([A-Za-z]+)/;

function isField(name: string): name is LogFormatField {
  return LOG_FORMAT_FIELDS.some((known) => known === name);
}

/** What is wrong with the flags of a field, in words; undefined: nothing. */
function flagFault(flags: readonly string[]): string | undefined {
  const wrong = flags.find((flag) => !/^[+-][QE]$/.test(flag));
  return wrong && `there is no flag "${wrong}"; there are +Q, -Q, +E and -E`;
}

/**
 * Takes a format apart. `%%` is a percent sign, `%{+Q}o` sets flags for what follows, and a
 * backslash stands before what is meant as it is. Yields the fault in words when it has one.
 */
export function parseLogFormat(text: string): LogFormatPart[] | string {
  const parts: LogFormatPart[] = [];
  let plain = '';
  let quoted = false;
  let rest = text;
  while (rest !== '') {
    if (rest[0] === '\\' || rest.startsWith('%%')) {
      plain += rest[1] ?? '';
      rest = rest.slice(2);
      continue;
    }
    if (rest[0] !== '%') {
      plain += rest[0];
      rest = rest.slice(1);
      continue;
    }
    if (/^%(\{[^}]*\})?\[/.test(rest)) return 'expressions such as %[src] are not known here';
    const [whole, given = '', name = ''] = FIELD.exec(rest) ?? [];
    if (whole === undefined) return `"${rest.slice(0, 10)}" is not a field`;
    const flags = given.split(',').filter(Boolean);
    const fault = flagFault(flags);
    if (fault) return fault;
    const own: boolean = flags.includes('+Q') || (quoted && !flags.includes('-Q'));
    rest = rest.slice(whole.length);
    if (name === 'o') {
      quoted = own;
      continue;
    }
    if (!isField(name))
      return `there is no field %${name}; there are: ${LOG_FORMAT_FIELDS.join(', ')}`;
    if (plain !== '') parts.push(plain);
    plain = '';
    parts.push({ field: name, quoted: own });
  }
  return plain === '' ? parts : [...parts, plain];
}
