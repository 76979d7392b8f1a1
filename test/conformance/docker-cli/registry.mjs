// A registry that hands out one image from a folder as `podman push … dir:` leaves it:
//   node registry.mjs FOLDER PORT [USER:PASSWORD]
// Source: the OCI distribution specification, "Pulling".
import { createReadStream, existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';

const [folder, port, login] = process.argv.slice(2);

function refuse(response, status, code, headers = {}) {
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(
    JSON.stringify({ errors: [{ code, message: code.toLowerCase().replace('_', ' ') }] }),
  );
}

createServer((request, response) => {
  const given = Buffer.from((request.headers.authorization ?? '').replace('Basic ', ''), 'base64');
  if (login !== undefined && given.toString() !== login) {
    refuse(response, 401, 'UNAUTHORIZED', { 'www-authenticate': 'Basic realm="lab"' });
    return;
  }
  const [, name, kind, reference = ''] =
    /^\/v2\/(.+)\/(manifests|blobs)\/(.+)$/.exec(request.url) ?? [];
  if (request.url === '/v2/') response.end('{}');
  else if (name !== 'bb' || reference === 'none') refuse(response, 404, 'MANIFEST_UNKNOWN');
  else if (kind === 'manifests') {
    const text = readFileSync(join(folder, 'manifest.json'));
    response.writeHead(200, { 'content-type': JSON.parse(text).mediaType });
    response.end(text);
  } else {
    const path = join(folder, reference.replace('sha256:', ''));
    if (existsSync(path)) createReadStream(path).pipe(response);
    else refuse(response, 404, 'BLOB_UNKNOWN');
  }
}).listen(Number(port));
