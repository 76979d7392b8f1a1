import { TABLE } from './directive-table.ts';

const HEAD = `# Migrating from nginx

\`\`\`sh
sluice convert /etc/nginx/nginx.conf -o sluice.yaml
sluice check --config sluice.yaml
\`\`\`

The report on standard error has three lists: what was translated, what only roughly and why, and
what was left out, each with file and line. With \`--strict\` something left out makes the exit
status 1. Included files are read, relative to the directory of the file. A file of \`conf.d\` can
be converted by itself.

## What is different

- Files are not served. A location of files, or of a program that Sluice does not speak to,
  answers 501, so that its requests do not fall to another location. The same holds where a guard
  has no equivalent.
- Endpoints are checked by \`GET /\` every two seconds, and any answer is good; \`health\` says
  otherwise. A service without a live endpoint answers 503 at once, where nginx tries and answers
  502.
- What the file does not say follows Sluice: connecting takes at most 1s (nginx: 60s), an upgraded
  connection may be quiet for 1h (60s), five failures in a row put an endpoint aside (one), and
  retries are at most a fifth of the requests.
- Paths are matched as they are sent on: escapes that have to be are kept, so that an expression
  for a blank is \`%20\`. An escaped slash is refused (\`http.encodedSlashes\`).
- Times, header sizes and TLS versions belong to an address; those of its default server count for
  all.
- Answers are neither compressed nor cached.

## Directives

| nginx | Sluice |
|---|---|
`;

const KINDS = { needless: 'not needed', missing: 'left out' } as const;

/** The guide with the table of directives, in Markdown. */
export function nginxGuide(): string {
  const rows = TABLE.map(({ names, sluice, as }) => {
    const list = names.split(' ').map((name) => `\`${name}\``);
    return `| ${list.join(', ')} | ${as === undefined ? '' : `${KINDS[as]}: `}${sluice} |`;
  });
  return `${HEAD}${rows.join('\n')}\n`;
}
