import { invalid } from '../base/faults.ts';

type Named = { readonly id: string; readonly name: string };

/**
 * Finds by full id, then by name, then by the beginning of an id. Undefined: there is none. Throws
 * `E_REQUEST_INVALID` when the beginning fits several; `what` says of what kind they are.
 */
export function lookUp<T extends Named>(
  objects: Iterable<T>,
  key: string,
  what: string,
): T | undefined {
  const all = [...objects];
  const exact = all.find(({ id }) => id === key) ?? all.find(({ name }) => name === key);
  if (exact || key === '') return exact;
  const hits = all.filter(({ id }) => id.startsWith(key));
  if (hits.length > 1) {
    throw invalid(`${what} ${key} is ambiguous (${hits.length} matches found based on ID prefix)`);
  }
  return hits[0];
}
