// Clients in a network namespace of a test. Each message opens connections and keeps them; the
// answer is how many are open. What they are sent is read and forgotten.
import { hold } from './attack.ts';

process.on(
  'message',
  async (order: { host: string; port: number; count: number; send: string }) => {
    const { host, port, count, send } = order;
    const { open } = await hold(port, count, { host, send, batch: 500 });
    process.send?.(open());
  },
);
process.on('disconnect', () => process.exit(0));
