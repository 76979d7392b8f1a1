import { conflict, failed, invalid } from '../../base/faults.ts';
import { isStale } from '../../store/edit.ts';
import type { Change } from '../../store/embedded-store.ts';
import type { Store } from '../../store/store.ts';

/** What a host says that is of no cluster, or of one. */
export const NOT_A_MEMBER = 'This node is not part of a swarm';
export const A_MEMBER =
  'This node is already part of a swarm. Use "docker swarm leave" to leave this swarm and join another one.';
/** What one says that cannot be asked of its cluster. */
export const A_WORKER =
  "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state. Please run this command on a manager node or promote the current node to a manager.";
export const LOCKED =
  'Swarm is encrypted and needs to be unlocked before it can be used. Please use "docker swarm unlock" to unlock it.';

/** The request contradicts itself or names what no service can have. */
export function invalidArgument(text: string) {
  return invalid(`rpc error: code = InvalidArgument desc = ${text}`);
}

/** The cluster is not in the state that the request needs. */
export function precondition(text: string) {
  return invalid(`rpc error: code = FailedPrecondition desc = ${text}`);
}

/** Another object has the name. */
export function alreadyExists(text: string) {
  return conflict(`rpc error: code = AlreadyExists desc = ${text}`);
}

/** The object has changed since its version was read. */
export function outOfSequence() {
  return failed('rpc error: code = Unknown desc = update out of sequence');
}

/** Writes an object in place of the version that was read. Throws when it has changed since. */
export async function replace(store: Store, change: Change): Promise<void> {
  try {
    await store.update([change]);
  } catch (error) {
    throw isStale(error) ? outOfSequence() : error;
  }
}

/** What a manager says that is to leave without force; `last`: the cluster has no other. */
export function leaveWarning(last: boolean): string {
  const text =
    'You are attempting to leave the swarm on a node that is participating as a manager. ';
  const more = last ? 'Removing the last manager erases all current state of the swarm. ' : '';
  return `${text}${more}Use \`--force\` to ignore this message. `;
}
