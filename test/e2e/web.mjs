// A web server for tasks, on port PORT: answers with its NAME, the path that it saw, and the client.
import { createServer } from 'node:http';

const { NAME, PORT = '80' } = process.env;

const server = createServer(({ url, socket }, response) => {
  response.end(`${NAME} ${url} ${socket.remoteAddress}\n`);
});
server.listen(Number(PORT));
process.on('SIGTERM', () => server.close(() => process.exit()));
