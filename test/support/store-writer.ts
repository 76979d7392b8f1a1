import { EmbeddedStore } from '../../src/store/embedded-store.ts';

/** Writes pairs of objects and acknowledges each, until it is killed. */
const store = EmbeddedStore.open(process.argv[2] ?? ':memory:');
let count = 0;
const step = () => {
  const id = String(count++).padStart(6, '0');
  store.write([
    { kind: 'left', id, value: count },
    { kind: 'right', id, value: count },
  ]);
  process.send?.(count);
  if (count < 2500) setImmediate(step);
};
step();
