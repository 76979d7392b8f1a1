/**
 * Every error code, with the sentence that `docs/errors.md` prints. Codes are permanent: one is
 * never renamed or given another meaning. Keep the areas together and each area in order.
 */
export const ERROR_CODES = {
  E_INTERNAL_INVARIANT: 'A condition that the code relies on did not hold; the process restarts.',
  E_CONFIG_INVALID: 'The configuration has errors; every one is listed with its position.',
  E_CONFIG_IDENTITY: 'The user or group that workers are to run as does not exist.',
  E_BIND_FAILED: 'A listening address could not be bound; nothing of the change was applied.',
  E_WORKER_START: 'The workers crash at their start; the log says how.',
  E_UPGRADE_REFUSED: 'Another daemon could not take over; this one serves on.',
  E_ALREADY_RUNS: 'A daemon runs with this configuration or process file already.',
  E_BUSY: 'The daemon is upgrading or ending and takes no such order now.',
  E_ADMIN_UNREACHABLE: 'The admin API of the daemon does not answer.',
  E_ADMIN_REFUSED: 'The daemon refused an order; its reason follows.',
  E_ENGINE_UNREACHABLE: 'The engine of the daemon does not answer.',
  E_ENGINE_REFUSED: 'The engine refused an order; its reason follows.',
  E_OBJECT_NOT_FOUND: 'The object that was named does not exist.',
  E_OBJECT_CONFLICT: 'The order contradicts what is there now.',
  E_OBJECT_UNCHANGED: 'The object is in the wanted state already.',
  E_REQUEST_INVALID: 'An order cannot be meant as it was given; nothing was changed.',
  E_REQUEST_FORBIDDEN: 'A rule forbids the order, whoever gives it.',
  E_REQUEST_UNSUPPORTED: 'The order is understood but not served.',
  E_NODE_UNAVAILABLE: 'The node is not in the state that could carry out the order.',
  E_HOST_FAILED: 'The order was tried and the host refused it; its reason follows.',
  E_PLUGIN_UNREACHABLE: 'A network or IPAM plugin did not answer in time.',
  E_PLUGIN_ANSWER: 'A network or IPAM plugin answered what cannot be understood or used.',
  E_PLUGIN_REFUSED: 'A network or IPAM plugin refused the order; its own words follow.',
  E_STORE_FAILED: 'The store of the daemon cannot be opened or read.',
  E_STORE_STALE: 'The object was changed in the meantime; read it again.',
  E_AGENT_UNREACHABLE: 'The node agent does not answer.',
  E_AGENT_LINK: 'The node agent and its client do not understand each other.',
  E_AGENT_COMMAND: 'A command of the host, such as `ip` or `nft`, failed; its own words follow.',
  E_AGENT_UNSUPPORTED: 'The host lacks what the order needs; `sluice agent doctor` lists it.',
  E_AGENT_IMAGE: 'The node agent has no such image.',
  E_AGENT_TASK: 'The node agent has no such task, or it is in another state.',
  E_AGENT_SPEC: 'A task cannot run as it was described.',
  E_AGENT_EXEC: 'The command of a task cannot be found or run.',
} as const;

export type ErrorCode = keyof typeof ERROR_CODES;
