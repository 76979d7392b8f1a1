import { conflict, failed, invalid } from '../../base/faults.ts';

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
