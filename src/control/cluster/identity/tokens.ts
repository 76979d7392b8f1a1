import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { invalid } from '../../../base/faults.ts';
import type { NodeRole } from '../../../model/cluster.ts';

const PREFIX = 'SWMTKN-1';
const DIGEST_DIGITS = 50;
const SECRET_DIGITS = 25;
const SECRET_BYTES = 16;
const TOKEN = /^SWMTKN-1-([0-9a-z]{50})-([0-9a-z]{25})$/;

const UNLOCK_PREFIX = 'SWMKEY-1-';
const UNLOCK = /^SWMKEY-1-([A-Za-z0-9+/]{43})$/;

const ID_DIGITS = 25;

function base36(bytes: Buffer, digits: number): string {
  return BigInt(`0x${bytes.toString('hex')}`)
    .toString(36)
    .padStart(digits, '0')
    .slice(-digits);
}

/** An id of a cluster's object, 25 digits of base 36, out of 16 bytes or more. */
export function clusterId(bytes: Buffer): string {
  return base36(bytes.subarray(0, SECRET_BYTES), ID_DIGITS);
}

export function newClusterId(): string {
  return clusterId(randomBytes(SECRET_BYTES));
}

/** What makes a join token hard to guess: 128 random bits in base 36. */
export function newJoinSecret(): string {
  return base36(randomBytes(SECRET_BYTES), SECRET_DIGITS);
}

/** What a joining node can check before it tells anything: the root's digest. */
export type JoinToken = { readonly rootDigest: string; readonly secret: string };

/** The digest of a root's DER, as a token carries it. */
export function tokenDigest(rootDer: Buffer): string {
  return base36(createHash('sha256').update(rootDer).digest(), DIGEST_DIGITS);
}

export function formatToken({ rootDigest, secret }: JoinToken): string {
  return `${PREFIX}-${rootDigest}-${secret}`;
}

/** Throws in the words that users know. */
export function parseToken(text: string): JoinToken {
  const [, rootDigest, secret] = TOKEN.exec(text.trim()) ?? [];
  if (rootDigest === undefined || secret === undefined) throw invalid('invalid join token');
  return { rootDigest, secret };
}

function equal(a: string, b: string): boolean {
  const [left, right] = [a, b].map((text) => createHash('sha256').update(text).digest());
  return left !== undefined && right !== undefined && timingSafeEqual(left, right);
}

/** The role that a secret gives; undefined: it is none of this cluster. Takes equal time. */
export function roleOfSecret(
  secrets: { readonly worker: string; readonly manager: string },
  secret: string,
): NodeRole | undefined {
  const [worker, manager] = [equal(secrets.worker, secret), equal(secrets.manager, secret)];
  if (manager) return 'manager';
  return worker ? 'worker' : undefined;
}

/** 256 random bits. */
export function newUnlockKey(): Buffer {
  return randomBytes(32);
}

export function formatUnlockKey(key: Buffer): string {
  return `${UNLOCK_PREFIX}${key.toString('base64').replace(/=+$/, '')}`;
}

/** Throws when it is no such key. */
export function parseUnlockKey(text: string): Buffer {
  const [, digits] = UNLOCK.exec(text.trim()) ?? [];
  if (digits === undefined) throw invalid('invalid key; unlock keys begin with SWMKEY-1-');
  return Buffer.from(digits, 'base64');
}
