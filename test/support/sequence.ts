const FILL = 'abcdefghijklmnopqrstuvwxyz0123456789'.repeat(8);

/** The body that a backend answers, and a POST carries, for one sequence number. */
export function bodyOf(seq: number): string {
  return `${seq}:${FILL.slice(0, seq % 97)}`;
}
