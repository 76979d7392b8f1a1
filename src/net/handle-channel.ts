import childProcess from 'node:child_process';
import type { NativeHandle } from './handles.ts';

// Sockets travel between processes that are not parent and child over the same channel as between
// those that are; Node opens it on any connected unix socket, but says so to its own bootstrap only.
// exempt(as): neither function has types.
const forkChild = (
  childProcess as unknown as { _forkChild(fd: number, serialization: string): void }
)._forkChild;
const binding = (process as unknown as { binding(name: string): never }).binding('pipe_wrap') as {
  Pipe: new (
    type: number,
  ) => NativeHandle & {
    connect(request: object, path: string): void;
    listen(backlog: number): number;
    onconnection?: (status: number, peer: NativeHandle | undefined) => void;
  };
  PipeConnectWrap: new () => { oncomplete?: (status: number) => void };
};

/** Opens a channel on a connected descriptor, which is the channel's from here on. */
function openChannel(fd: number): void {
  // An earlier channel's listener would take this one's acknowledgements for its own.
  process.removeAllListeners('internalMessage' as never);
  forkChild(fd, 'advanced');
}

const SOCKET = 0;
const BACKLOG = 8;

/**
 * Makes `process.send` and its `message` and `disconnect` events speak to whoever listens at a unix
 * path; false when nobody does. One channel at a time.
 */
export function connectChannel(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const pipe = new binding.Pipe(SOCKET);
    const request = new binding.PipeConnectWrap();
    request.oncomplete = (status) => {
      if (status === 0) openChannel(pipe.fd);
      else pipe.close();
      resolve(status === 0);
    };
    pipe.connect(request, path);
  });
}

/** Listens on a bound unix socket and opens a channel as above for each peer, one after another. */
export function acceptChannels(socket: NativeHandle, onOpen: () => void): void {
  // exempt(as): such a socket is a pipe handle.
  const pipe = socket as InstanceType<typeof binding.Pipe>;
  pipe.onconnection = (status, peer) => {
    if (status !== 0 || !peer) return;
    if (process.connected) {
      peer.close();
      return;
    }
    openChannel(peer.fd);
    onOpen();
  };
  pipe.listen(BACKLOG);
}
