import { test } from 'node:test';
import { passesInUml, umlUnavailable } from '../support/uml.ts';

/** The machine is emulated, and slow beside others. */
const UML = { skip: umlUnavailable(), timeout: 320_000 };

// Machines with control groups of version 1 are common: the test brings a kernel with the other.
test('limits of tasks by control groups of version 2', UML, () =>
  passesInUml('uml-limits.ts', [], 13),
);
