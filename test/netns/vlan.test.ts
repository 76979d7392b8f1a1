import { test } from 'node:test';
import { passesInUml, umlUnavailable } from '../support/uml.ts';

// Kernels without 802.1q are common on small machines: the test brings its own.
test(
  'macvlan networks on VLANs of a trunk, and without a parent',
  { skip: umlUnavailable(), timeout: 320_000 },
  () => passesInUml('uml-vlan.ts', ['8021q', 'dummy', 'macvlan', 'veth', 'bridge'], 10),
);
