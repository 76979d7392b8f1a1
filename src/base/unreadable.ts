/** Tells why a file cannot be read. */
type Io = { readonly whyUnreadable?: (path: string) => string | undefined };

/** That `what`, which is at `path`, cannot be read, with the reason where there is one. */
export function unreadable(what: string, path: string, io: Io): string {
  const why = io.whyUnreadable?.(path);
  return `${what} cannot be read${why === undefined ? '' : `: ${why}`}`;
}
