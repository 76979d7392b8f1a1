import type { RuntimeCall, RuntimeCommand } from './command.ts';

function begin({ backend, words, payload, transactions }: RuntimeCall): string {
  const [file] = words;
  if (file === undefined || payload === undefined) {
    return "'set ssl cert expects a filename and a certificate as a payload\n";
  }
  if (!backend.certificates().includes(file)) {
    return (
      "Can't replace a certificate which is not referenced by the configuration!\n" +
      `Can't update ${file}!\n`
    );
  }
  const again = transactions.has(file);
  transactions.set(file, payload);
  return `Transaction ${again ? 'updated' : 'created'} for certificate ${file}!\n`;
}

function commit({ backend, words, transactions }: RuntimeCall): string {
  const [file = ''] = words;
  const pem = transactions.get(file);
  if (pem === undefined) return `No ongoing transaction! !\nCan't commit ${file}!\n`;
  const refused = backend.replaceCertificate(file, pem);
  if (refused) return `${refused}\nCan't commit ${file}!\n`;
  transactions.delete(file);
  return `Committing ${file}.\nSuccess!\n`;
}

function abort({ words, transactions }: RuntimeCall): string {
  const [file = ''] = words;
  return transactions.delete(file)
    ? `Transaction aborted for certificate '${file}'!\n`
    : 'No ongoing transaction!\n';
}

function show({ backend, transactions }: RuntimeCall): string {
  const begun = [...transactions.keys()].map((file) => `*${file}\n`);
  const files = backend.certificates().map((file) => `${file}\n`);
  return `${begun.length > 0 ? `# transaction\n${begun.join('')}` : ''}# filename\n${files.join('')}`;
}

/** Commands about certificates. Source: HAProxy management guide, section 9.3. */
export const CERTIFICATE_COMMANDS: readonly RuntimeCommand[] = [
  {
    name: 'abort ssl cert',
    usage: 'abort ssl cert <certfile>',
    help: 'abort a transaction for a certificate file',
    level: 'admin',
    run: abort,
  },
  {
    name: 'commit ssl cert',
    usage: 'commit ssl cert <certfile>',
    help: 'commit a certificate file',
    level: 'admin',
    run: commit,
  },
  {
    name: 'set ssl cert',
    usage: 'set ssl cert <certfile> <payload>',
    help: 'replace a certificate file',
    level: 'admin',
    run: begin,
  },
  {
    name: 'show ssl cert',
    usage: 'show ssl cert',
    help: 'display the SSL certificates used in memory',
    level: 'operator',
    run: show,
  },
];
