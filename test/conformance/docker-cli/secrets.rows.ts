import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Lab } from './lab.ts';
import { refused, row } from './rows.ts';
import { swarmRows } from './swarm.ts';

const DATA = 'a secret of mine';

function file(lab: Lab, name: string, data: string | Buffer): string {
  const path = join(lab.folder, name);
  writeFileSync(path, data);
  return path;
}

swarmRows([
  row('SE-25', 'a secret holds less than 500 kB and is not empty', async (lab) => {
    const limit = /secret data must be larger than 0 and less than 512000 bytes/;
    const large = file(lab, 'large', Buffer.alloc(512_000, 1));
    refused(await lab.docker('secret', 'create', 'large', large), limit);
    refused(await lab.docker('secret', 'create', 'empty', file(lab, 'empty', '')), /data is empty/);
    const most = file(lab, 'most', Buffer.alloc(511_999, 1));
    assert.match(await lab.ok('secret', 'create', 'most', most), /^[a-z0-9]{25}$/);
  }),
  row('SE-26', 'secrets are made, listed, shown without their data, and removed', async (lab) => {
    const path = file(lab, 'ca.pem', DATA);
    const id = await lab.ok('secret', 'create', '--label', 'tier=prod', 's.v1', path);
    assert.equal(await lab.ok('secret', 'ls', '--format', '{{.ID}} {{.Name}}'), `${id} s.v1`);
    assert.equal(await lab.ok('secret', 'ls', '-q', '--filter', 'label=tier=prod'), id);
    assert.equal(await lab.ok('secret', 'ls', '-q', '--filter', 'name=x'), '');
    const shown = await lab.ok('secret', 'inspect', 's.v1');
    assert.doesNotMatch(shown, new RegExp(Buffer.from(DATA).toString('base64')));
    assert.match(shown, /"tier": "prod"/);
    assert.match(await lab.ok('secret', 'inspect', '--pretty', id.slice(0, 8)), /Name:\s+s\.v1/);
    refused(
      await lab.docker('secret', 'create', 's.v1', path),
      /code = AlreadyExists desc = secret s\.v1 already exists/,
    );
    refused(await lab.docker('secret', 'create', '.bad', path), /invalid name, only 64/);
    assert.equal(await lab.ok('secret', 'rm', 's.v1'), 's.v1');
    refused(await lab.docker('secret', 'rm', 's.v1'), /secret s\.v1 not found/);
    assert.match(await lab.ok('secret', 'create', 's.v1', path), /^[a-z0-9]{25}$/);
  }),
  row('SE-26', 'a secret driver and templates are refused', async (lab) => {
    const path = file(lab, 'template', '{{.Node.ID}}');
    refused(
      await lab.docker('secret', 'create', '--template-driver', 'golang', 'tp', path),
      /templates in a secret are not served/,
    );
    refused(
      await lab.docker('secret', 'create', '--driver', 'vault', 'dr'),
      /secret drivers are not served/,
    );
  }),
  row('SE-27', 'a container cannot have a secret', async (lab) => {
    refused(
      await lab.docker('run', '--secret', 'x', 'host', 'true'),
      /unknown flag: --secret/,
      125,
    );
  }),
  row('DS-60', 'a configuration is kept and shown', async (lab) => {
    const id = await lab.ok('config', 'create', 'c1', file(lab, 'c1', 'key: value\n'));
    assert.equal(await lab.ok('config', 'ls', '--format', '{{.ID}} {{.Name}}'), `${id} c1`);
    assert.match(await lab.ok('config', 'inspect', '--pretty', 'c1'), /key: value/);
    refused(
      await lab.docker('config', 'create', 'large', file(lab, 'large', Buffer.alloc(1_024_000, 1))),
      /config data must be larger than 0 and less than 1024000 bytes/,
    );
    assert.equal(await lab.ok('config', 'rm', 'c1'), 'c1');
    assert.equal(await lab.ok('config', 'ls', '-q'), '');
  }),
]);
