import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Http2ClientCore } from '../../src/wire/http2-client-core.ts';
import { Http2ServerCore } from '../../src/wire/http2-server-core.ts';
import type { Http2Stream, StreamEvents } from '../../src/wire/http2-stream.ts';
import { block, frame, PREFACE, request, settings, u32 } from '../support/http2-raw.ts';

const RUNS = 1500;
const OPTIONS = {
  maxConcurrentStreams: 20,
  streamWindowBytes: 65_536,
  connectionWindowBytes: 262_144,
  maxHeaderListBytes: 32_768,
};
const LIMITS = {
  maxHeaderBytes: 16_384,
  maxHeaders: 100,
  maxUriBytes: 8192,
  underscoreHeaders: 'drop',
} as const;
const EVENTS = {
  output: () => {},
  refused: () => {},
  goaway: () => {},
  settled: () => {},
  pong: () => {},
  failed: () => {},
};

/** A frame that is often right and sometimes not. */
const turn = fc.integer({ min: 0, max: 7 });
const whole = fc.boolean();
const raw = fc
  .tuple(fc.nat({ max: 12 }), fc.nat({ max: 255 }), fc.nat({ max: 12 }), fc.uint8Array())
  .map(([type, flags, id, payload]) => frame(type, flags, id, Buffer.from(payload)));
const body = fc
  .tuple(turn, fc.nat({ max: 16_384 }), whole)
  .map(([at, size, end]) => frame(0, end ? 1 : 0, 1 + 2 * at, Buffer.alloc(size)));
const head = fc
  .tuple(fc.nat({ max: 30 }), fc.constantFrom('GET', 'POST', 'HEAD'), whole)
  .map(([at, method, end]) => frame(1, end ? 5 : 4, 17 + 2 * at, block(...request(method))));
const answer = fc
  .tuple(turn, fc.constantFrom('200', '103', '204'), whole)
  .map(([at, status, end]) => frame(1, end ? 5 : 4, 1 + 2 * at, block(':status', status)));
const trailers = turn.map((at) => frame(1, 5, 1 + 2 * at, block('a', 'b')));
const window = fc
  .tuple(fc.constantFrom(0, 1, 3, 5), fc.integer({ min: 1, max: 100_000 }))
  .map(([id, by]) => frame(8, 0, id, u32(by)));
const windows = fc.nat({ max: 100_000 }).map((value) => settings([4, value]));
const table = fc.nat({ max: 10_000 }).map((value) => settings([1, value]));
const reset = turn.map((at) => frame(3, 0, 1 + 2 * at, u32(8)));
const anyFrame = fc.oneof(
  { weight: 1, arbitrary: raw },
  { weight: 20, arbitrary: body },
  { weight: 5, arbitrary: head },
  { weight: 5, arbitrary: answer },
  { weight: 3, arbitrary: trailers },
  { weight: 5, arbitrary: window },
  { weight: 3, arbitrary: windows },
  { weight: 1, arbitrary: table },
  { weight: 3, arbitrary: reset },
);

/** What a peer says, with some bytes changed, and where it is cut into pieces. */
const session = fc.record({
  frames: fc.array(anyFrame, { maxLength: 60, size: 'max' }),
  changes: fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { maxLength: 1 }),
  pieces: fc.array(fc.integer({ min: 1, max: 5000 }), { maxLength: 10 }),
  pauses: fc.boolean(),
});

type Session = typeof session extends fc.Arbitrary<infer T> ? T : never;

function* piecesOf(first: Buffer, { frames, changes, pieces }: Session): Iterable<Buffer> {
  const rest = Buffer.concat([settings(), ...frames]);
  for (const [at, value] of changes) rest[at % rest.length] = value;
  const bytes = Buffer.concat([first, rest]);
  let at = 0;
  for (const size of pieces) {
    if (at >= bytes.length) return;
    yield bytes.subarray(at, at + size);
    at += size;
  }
  if (at < bytes.length) yield bytes.subarray(at);
}

/** What holds at any moment, whatever came. */
function check(core: Http2ClientCore | Http2ServerCore): void {
  let queued = 0;
  for (const stream of core.streams.values()) {
    queued += stream.outbox.bytes;
    assert.ok(!stream.aborted && !(stream.localEnded && stream.remoteEnded));
    assert.ok(stream.receiveWindow <= OPTIONS.connectionWindowBytes);
  }
  assert.equal(core.queuedBytes, queued);
  assert.ok(core.streams.size <= OPTIONS.maxConcurrentStreams);
  if (core.failed) assert.equal(core.streams.size, 0);
}

/** The owner of a stream: nothing may be told to it after its end but `drain` and `sent`. */
class Owner implements StreamEvents {
  #over = false;
  readonly #pauses: boolean;

  constructor(pauses: boolean) {
    this.#pauses = pauses;
  }

  response(): void {
    assert.ok(!this.#over);
  }

  data(chunk: Buffer): boolean {
    assert.ok(!this.#over && chunk.length > 0);
    return !this.#pauses;
  }

  ended(): void {
    assert.ok(!this.#over);
  }

  reset(): void {
    assert.ok(!this.#over);
    this.#over = true;
  }

  drain(): void {}
}

function feed(core: Http2ClientCore | Http2ServerCore, first: Buffer, one: Session): void {
  for (const piece of piecesOf(first, one)) {
    core.receive(piece, 1);
    check(core);
    core.takeOutput();
    core.flushed(one.pauses && piece.length % 2 === 0);
    check(core);
  }
  core.connectionEnded();
  check(core);
}

test('a server takes anything without a fault of its own', () => {
  const property = fc.property(session, (one) => {
    const core: Http2ServerCore = new Http2ServerCore(OPTIONS, LIMITS, {
      ...EVENTS,
      request: (stream: Http2Stream) => {
        stream.events = new Owner(one.pauses);
        stream.resume();
        stream.sendHead([':status', '200'], false);
        stream.write(Buffer.alloc(1000));
        if (stream.id % 8 !== 1) stream.end(stream.id % 4 === 1 ? ['x', 'y'] : []);
      },
    });
    // Streams that are open already, so that what follows has something to act on.
    const open = Array.from({ length: 8 }, (_, at) =>
      frame(1, 4, 1 + 2 * at, block(...request('POST'))),
    );
    feed(core, Buffer.concat([PREFACE, settings(), ...open]), one);
  });
  fc.assert(property, { numRuns: RUNS });
});

test('a client takes anything without a fault of its own', () => {
  const property = fc.property(session, (one) => {
    const core = new Http2ClientCore(OPTIONS, EVENTS);
    for (let turn = 0; turn < 8; turn++) {
      const stream = core.open(request('POST'), new Owner(one.pauses), { end: turn % 2 === 0 });
      if (turn % 3 === 0) stream.write(Buffer.alloc(1000));
      if (turn % 3 === 1) stream.end();
    }
    feed(core, Buffer.alloc(0), one);
  });
  fc.assert(property, { numRuns: RUNS });
});
