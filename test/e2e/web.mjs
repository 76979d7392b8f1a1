// A web server for tasks, on port PORT: answers with its NAME, the path that it saw, and the client.
import { createServer } from 'node:http';

const { NAME, PORT = '80' } = process.env;

createServer(({ url, socket }, response) => {
  response.end(`${NAME} ${url} ${socket.remoteAddress}\n`);
}).listen(Number(PORT));
