import { lstatSync, unlinkSync } from 'node:fs';
import { connect, type Server } from 'node:net';

/** Nobody but owner and group may open the socket. */
const UMASK = 0o117;

/** Whether a process listens at a unix path. */
export function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

/**
 * Listens on a unix socket with mode 0660 from its first moment. A socket that nobody answers is
 * replaced; a live one, a link or any other file is refused.
 */
export async function listenOnPath(server: Server, path: string): Promise<void> {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found && !found.isSocket()) throw new Error('what is there is not a socket');
  if (found && (await answers(path))) throw new Error('another process answers there');
  if (found) unlinkSync(path);
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    const before = process.umask(UMASK);
    server.listen(path, resolve);
    process.umask(before);
  });
}
