import * as grpc from '@grpc/grpc-js';
import { HealthImplementation } from 'grpc-health-check';

const identity = (bytes: Buffer): Buffer => bytes;

function method(name: string, requestStream: boolean, responseStream: boolean) {
  return {
    path: `/test.Echo/${name}`,
    requestStream,
    responseStream,
    requestSerialize: identity,
    requestDeserialize: identity,
    responseSerialize: identity,
    responseDeserialize: identity,
  };
}

const DEFINITION = {
  unary: method('Unary', false, false),
  down: method('Down', false, true),
  up: method('Up', true, false),
  both: method('Both', true, true),
};

type Call = { metadata: grpc.Metadata };

/** What a service does in answer to its request's text. */
export type Observed = { calls: number; cancelledAt: number[]; metadata: grpc.Metadata[] };

/**
 * A real gRPC server with a health service. Unary answers its name and the text; `fail:<code>` fails with that status,
 * `fail:<code>:<name>` at the server of that name only, and `hang` never answers. Down repeats the text, Up counts bytes, Both echoes.
 */
export async function startGrpcServer(port: number, name: string) {
  const observed: Observed = { calls: 0, cancelledAt: [], metadata: [] };
  const server = new grpc.Server();
  const note = ({ metadata }: Call) => {
    observed.calls++;
    observed.metadata.push(metadata);
  };
  server.addService(DEFINITION, {
    unary(call: grpc.ServerUnaryCall<Buffer, Buffer>, done: grpc.sendUnaryData<Buffer>) {
      note(call);
      call.on('cancelled', () => observed.cancelledAt.push(performance.now()));
      const text = call.request.toString();
      const trailers = new grpc.Metadata();
      trailers.set('x-served-by', name);
      trailers.set('x-raw-bin', Buffer.from([0, 255, 10, 13, 37]));
      if (text === 'hang') return;
      const [, code, at = name] = /^fail:(\d+)(?::(\w+))?$/.exec(text) ?? [];
      if (code && at === name)
        done({ code: Number(code), details: 'nö: 100 % \n', metadata: trailers });
      else done(null, Buffer.from(`${name}:${text}`), trailers);
    },
    down(call: grpc.ServerWritableStream<Buffer, Buffer>) {
      note(call);
      call.on('cancelled', () => observed.cancelledAt.push(performance.now()));
      let left = 100;
      const next = () => {
        let room = true;
        for (; left > 0 && room; left--) room = call.write(call.request);
        if (left > 0) call.once('drain', next);
        else call.end();
      };
      if (call.request.toString() === 'hang') call.write(call.request);
      else next();
    },
    up(call: grpc.ServerReadableStream<Buffer, Buffer>, done: grpc.sendUnaryData<Buffer>) {
      note(call);
      let bytes = 0;
      call.on('data', (data: Buffer) => {
        bytes += data.length;
      });
      call.on('end', () => done(null, Buffer.from(String(bytes))));
    },
    both(call: grpc.ServerDuplexStream<Buffer, Buffer>) {
      note(call);
      call.on('cancelled', () => observed.cancelledAt.push(performance.now()));
      call.on('data', (data: Buffer) => call.write(data));
      call.on('end', () => call.end());
    },
  });
  const health = new HealthImplementation({ '': 'SERVING', 'shop.Cart': 'SERVING' });
  health.addToServer(server);
  await new Promise<void>((resolve, reject) => {
    const credentials = grpc.ServerCredentials.createInsecure();
    server.bindAsync(`127.0.0.1:${port}`, credentials, (error) =>
      error ? reject(error) : resolve(),
    );
  });
  return { health, observed, stop: () => server.forceShutdown() };
}

/** A real gRPC client of that service. */
export class EchoClient {
  readonly #client: grpc.Client;

  constructor(port: number) {
    this.#client = new grpc.Client(`127.0.0.1:${port}`, grpc.credentials.createInsecure());
  }

  unary(text: string, options: grpc.CallOptions = {}, metadata = new grpc.Metadata()) {
    const { path } = DEFINITION.unary;
    return new Promise<{ text: string; trailers: grpc.Metadata }>((resolve, reject) => {
      let text_ = '';
      const call = this.#client.makeUnaryRequest(
        path,
        identity,
        identity,
        Buffer.from(text),
        metadata,
        options,
        (error, answer) => {
          if (error) reject(error);
          else text_ = String(answer);
        },
      );
      call.on('status', ({ code, metadata: trailers }) => {
        if (code === grpc.status.OK) resolve({ text: text_, trailers });
      });
    });
  }

  down(text: string, options: grpc.CallOptions = {}) {
    const { path } = DEFINITION.down;
    const data = Buffer.from(text);
    return this.#client.makeServerStreamRequest(path, identity, identity, data, options);
  }

  up(done: (error: grpc.ServiceError | null, answer?: Buffer) => void) {
    const { path } = DEFINITION.up;
    return this.#client.makeClientStreamRequest(path, identity, identity, done);
  }

  both() {
    return this.#client.makeBidiStreamRequest(DEFINITION.both.path, identity, identity);
  }

  /** A method that no server knows. */
  unknown(path: string): Promise<grpc.ServiceError | null> {
    return new Promise((resolve) => {
      this.#client.makeUnaryRequest(path, identity, identity, Buffer.alloc(0), (error) =>
        resolve(error),
      );
    });
  }

  close(): void {
    this.#client.close();
  }
}
