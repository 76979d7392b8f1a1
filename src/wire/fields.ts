/** The index of a field in a flat list, or -1; `name` in lower case. */
export function findField(fields: readonly string[], name: string): number {
  for (let at = 0; at < fields.length; at += 2) {
    if ((fields[at] as string).toLowerCase() === name) return at;
  }
  return -1;
}
