import type { Statements, Work } from './proxy.ts';

type Page = { readonly body: string; readonly contentType: string };

const DEFAULT_TYPE = 'text/html';

/** The pages that a section gives statuses, by status; files that cannot be read are reported. */
export function pagesOf(statements: Statements, work: Work): Record<string, Page> {
  const pages: Record<string, Page> = {};
  const lists = statements.all('errorfiles').flatMap(({ words, text, line }) => {
    const section = work.pages.get(words[1] ?? '');
    if (!section) work.reporter.error(text, line, `there is no http-errors ${words[1]}`);
    return section?.statements ?? [];
  });
  for (const { words, text, line } of [...lists, ...statements.all('errorfile', 'http-error')]) {
    const status = words[0] === 'errorfile' ? words[1] : words[words.indexOf('status') + 1];
    if (status === undefined || !/^[45]\d\d$/.test(status)) {
      work.reporter.unsupported(text, line, 'a page stands for a status of 400 to 599');
      continue;
    }
    const page = readPage(words, work);
    if (typeof page === 'string') work.reporter.unsupported(text, line, page);
    else pages[status] = page;
  }
  return pages;
}

/** The page of one status, if there is one. */
export function pageOf(statements: Statements, status: number, work: Work): Page | undefined {
  return pagesOf(statements, work)[String(status)];
}

function readPage(words: readonly string[], work: Work): Page | string {
  const after = (name: string) =>
    words.includes(name) ? words[words.indexOf(name) + 1] : undefined;
  const raw = words[0] === 'errorfile' ? words[2] : after('errorfile');
  if (raw !== undefined) {
    const text = work.readFile(raw);
    return text === undefined ? work.unreadable(`the file ${raw}`, raw) : cutAnswer(text);
  }
  const contentType = after('content-type') ?? DEFAULT_TYPE;
  const file = after('file') ?? after('lf-file');
  const body = file === undefined ? (after('string') ?? after('lf-string')) : work.readFile(file);
  if (body === undefined)
    return file === undefined ? 'it has no body' : work.unreadable(`the file ${file}`, file);
  return { body, contentType };
}

/** Body and media type of a file that holds a whole answer. Source: HAProxy manual, `errorfile`. */
function cutAnswer(text: string): Page {
  const [, head = '', body = ''] = /^([\s\S]*?)\r?\n\r?\n([\s\S]*)$/.exec(text) ?? [];
  const contentType = /^content-type:[ \t]*(.+?)[ \t\r]*$/im.exec(head)?.[1] ?? DEFAULT_TYPE;
  return { body, contentType };
}
