import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { test } from 'node:test';
import {
  BACKDATED_MS,
  createRequest,
  createRoot,
  crossSign,
  digestOf,
  identityOf,
  issue,
  issuerOf,
  renewalTime,
} from '../../../../src/control/cluster/identity/authority.ts';
import { newSealingKey, seal, unseal } from '../../../../src/control/cluster/identity/sealing.ts';
import {
  formatToken,
  formatUnlockKey,
  newJoinSecret,
  newUnlockKey,
  parseToken,
  parseUnlockKey,
  roleOfSecret,
  tokenDigest,
} from '../../../../src/control/cluster/identity/tokens.ts';

const NOW = Date.parse('2026-06-01T00:00:00Z');
const DAY_MS = 24 * 3600_000;
const WHO = { nodeId: 'n'.repeat(25), role: 'worker', clusterId: 'c'.repeat(25) } as const;

test('a certificate says who its node is, whatever the request says', async () => {
  const root = await createRoot(NOW);
  const { request } = await createRequest();
  const text = await issue(root, { ...WHO, request, lifeMs: 90 * DAY_MS, now: NOW });
  const certificate = new X509Certificate(text);
  const identity = identityOf(certificate);
  assert.deepEqual(identity, {
    ...WHO,
    notBefore: NOW - BACKDATED_MS,
    notAfter: NOW + 90 * DAY_MS,
  });
  assert.equal(certificate.subjectAltName, `DNS:${WHO.nodeId}`);
  assert.equal(certificate.ca, false);
  const [early, late] = [0, 0.999].map((chance) => identity && renewalTime(identity, chance));
  assert.equal(early, NOW + 45 * DAY_MS);
  assert.ok(late && late > NOW + 71 * DAY_MS && late < NOW + 72 * DAY_MS);
});

test('a root knows what it signed, and another one does not', async () => {
  const [one, two] = [await createRoot(NOW), await createRoot(NOW)];
  const { request } = await createRequest();
  const text = await issue(one, { ...WHO, request, lifeMs: DAY_MS, now: NOW });
  const certificate = new X509Certificate(text);
  const found = issuerOf(certificate, [two.certificate, one.certificate]);
  assert.equal(found && digestOf(found), digestOf(one.certificate));
  assert.equal(issuerOf(certificate, [two.certificate]), undefined);
  const cross = new X509Certificate(await crossSign(two, one));
  assert.ok(cross.verify(new X509Certificate(one.certificate).publicKey));
  const { request: another } = await createRequest();
  const order = { ...WHO, request: another, lifeMs: DAY_MS, now: NOW };
  assert.ok(new X509Certificate(await issue(two, order)).verify(cross.publicKey));
});

test('a request that is none, or not signed by its key, is refused', async () => {
  const root = await createRoot(NOW);
  const { request } = await createRequest();
  const body = Buffer.from(request.replace(/-----.*-----|\s/g, ''), 'base64');
  const last = body.length - 1;
  body[last] = (body[last] ?? 0) ^ 1;
  const changed = `-----BEGIN CERTIFICATE REQUEST-----\n${body.toString('base64')}\n-----END CERTIFICATE REQUEST-----\n`;
  for (const bad of ['', 'x', 'y'.repeat(100_000), root.certificate, changed]) {
    const order = { ...WHO, request: bad, lifeMs: DAY_MS, now: NOW };
    await assert.rejects(issue(root, order), { code: 'E_REQUEST_INVALID' });
  }
});

test('a token pins the root and gives one role', async () => {
  const root = await createRoot(NOW);
  const rootDigest = tokenDigest(new X509Certificate(root.certificate).raw);
  const secrets = { worker: newJoinSecret(), manager: newJoinSecret() };
  const token = formatToken({ rootDigest, secret: secrets.manager });
  assert.match(token, /^SWMTKN-1-[0-9a-z]{50}-[0-9a-z]{25}$/);
  assert.deepEqual(parseToken(`${token}\n`), { rootDigest, secret: secrets.manager });
  assert.equal(roleOfSecret(secrets, secrets.manager), 'manager');
  assert.equal(roleOfSecret(secrets, secrets.worker), 'worker');
  assert.equal(roleOfSecret(secrets, newJoinSecret()), undefined);
  for (const bad of ['', 'SWMTKN-1-x-y', token.slice(1), `${token}0`, token.toUpperCase()]) {
    assert.throws(() => parseToken(bad), /invalid join token/);
  }
});

test('what is sealed opens with its key, for its purpose, unchanged', () => {
  const key = newSealingKey();
  const sealed = seal(key, 'ca', 'the key');
  assert.equal(unseal(key, 'ca', sealed).toString(), 'the key');
  assert.notEqual(seal(key, 'ca', 'the key'), sealed);
  const swapped = sealed.startsWith('A') ? `B${sealed.slice(1)}` : `A${sealed.slice(1)}`;
  for (const [with_, purpose, text] of [
    [newSealingKey(), 'ca', sealed],
    [key, 'secret', sealed],
    [key, 'ca', swapped],
    [key, 'ca', ''],
  ] as const) {
    assert.throws(() => unseal(with_, purpose, text), { code: 'E_CLUSTER_SEALED' });
  }
  const unlock = newUnlockKey();
  assert.deepEqual(parseUnlockKey(formatUnlockKey(unlock)), unlock);
  assert.throws(() => parseUnlockKey('SWMKEY-1-short'), /invalid key/);
});
