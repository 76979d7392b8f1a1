import { test } from 'node:test';
import { passesInUml, umlUnavailable } from '../support/uml.ts';

const MODULES = ['veth', 'bridge', 'vxlan', 'xfrm_user', 'esp4', 'gcm', 'ctr', 'ghash-generic'];
const REST = ['seqiv', 'echainiv', 'hmac', 'sha512_generic', 'jitterentropy_rng', 'drbg'];

/** The machine is emulated, and slow beside others. */
const UML = { skip: umlUnavailable(), timeout: 320_000 };

// Kernels without ESP are common on small machines: the test brings its own.
test('RA-48 overlays are encrypted, and their keys change', UML, () =>
  passesInUml('uml-encryption.ts', [...MODULES, ...REST, 'nf_tables', 'nft_objref'], 14),
);
