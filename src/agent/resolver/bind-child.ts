import { createSocket } from 'node:dgram';
import { createServer } from 'node:net';

/*
 * Runs in a sandbox's network namespace where the agent cannot enter it by itself: binds the two
 * sockets, hands them over and ends.
 */
const ADDRESS = '127.0.0.11';
const udp = createSocket('udp4');
const tcp = createServer();
udp.bind(0, ADDRESS, () => {
  tcp.listen(0, ADDRESS, () => {
    process.send?.('udp', udp, {}, () => {
      process.send?.('tcp', tcp, {}, () => process.exit(0));
    });
  });
});
