import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decodeLogEntry, encodeLogEntry } from '../../../src/link/agent-protocol.ts';
import { encodeFrame, FRAME, FrameDecoder, MAX_FRAME_BYTES } from '../../../src/link/frames.ts';

const kind = fc.constantFrom(FRAME.json, FRAME.stdin, FRAME.stdout, FRAME.stderr);

test('frames come out as they went in, however the bytes are cut', () => {
  const frame = fc.record({ kind, body: fc.uint8Array({ maxLength: 40 }) });
  fc.assert(
    fc.property(fc.array(frame), fc.array(fc.nat(20)), (frames, cuts) => {
      const bytes = Buffer.concat(
        frames.map((one) => encodeFrame(one.kind, Buffer.from(one.body))),
      );
      const decoder = new FrameDecoder();
      const got: { kind: number; body: number[] }[] = [];
      for (let at = 0, n = 0; at < bytes.length; n++) {
        const size = 1 + (cuts[n % Math.max(1, cuts.length)] ?? 0);
        const out = decoder.push(bytes.subarray(at, at + size));
        assert.notEqual(out, 'malformed');
        if (out !== 'malformed') got.push(...out.map((one) => ({ ...one, body: [...one.body] })));
        at += size;
      }
      assert.deepEqual(
        got,
        frames.map((one) => ({ kind: one.kind, body: [...one.body] })),
      );
    }),
  );
});

test('a frame that is too large or of no kind ends the stream', () => {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(MAX_FRAME_BYTES + 1);
  assert.equal(new FrameDecoder().push(head), 'malformed');
  assert.equal(new FrameDecoder().push(Buffer.from([0, 0, 0, 0, 9])), 'malformed');
});

test('a line of a log keeps its time to the nanosecond', () => {
  const entry = {
    stream: 'stderr' as const,
    timeNs: 1_700_000_000_123_456_789n,
    line: Buffer.from('text\n'),
  };
  const [frame] = new FrameDecoder().push(encodeLogEntry(entry));
  assert.ok(typeof frame === 'object');
  assert.deepEqual(decodeLogEntry(frame), entry);
  assert.equal(decodeLogEntry({ kind: FRAME.stdout, body: Buffer.alloc(3) }), undefined);
});
