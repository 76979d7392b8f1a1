/**
 * Every error code, with the sentence that `docs/errors.md` prints. Codes are permanent: one is
 * never renamed or given another meaning. Keep the areas together and each area in order.
 */
export const ERROR_CODES = {
  E_INTERNAL_INVARIANT: 'A condition that the code relies on did not hold; the process restarts.',
  E_CONFIG_INVALID: 'The configuration has errors; every one is listed with its position.',
  E_CONFIG_IDENTITY: 'The user or group that workers are to run as does not exist.',
  E_BIND_FAILED: 'A listening address could not be bound; nothing of the change was applied.',
  E_ADMIN_UNREACHABLE: 'The admin API of the daemon does not answer.',
  E_ADMIN_REFUSED: 'The daemon refused an order; its reason follows.',
} as const;

export type ErrorCode = keyof typeof ERROR_CODES;
