import { SluiceError } from './errors.ts';

/** The object that was named does not exist. */
export function notFound(message: string): SluiceError {
  return new SluiceError('E_OBJECT_NOT_FOUND', message);
}

/** What was asked for cannot be meant: nothing was changed. */
export function invalid(message: string): SluiceError {
  return new SluiceError('E_REQUEST_INVALID', message);
}

/** It contradicts what is there now; another moment it might be done. */
export function conflict(message: string): SluiceError {
  return new SluiceError('E_OBJECT_CONFLICT', message);
}

/** A rule forbids it, whoever asks. */
export function forbidden(message: string): SluiceError {
  return new SluiceError('E_REQUEST_FORBIDDEN', message);
}

/** It is part of the language but not served here. */
export function unsupported(message: string): SluiceError {
  return new SluiceError('E_REQUEST_UNSUPPORTED', message);
}

/** This node is not in the state that could serve it. */
export function unavailable(message: string): SluiceError {
  return new SluiceError('E_NODE_UNAVAILABLE', message);
}

/** Whether it may be done once others are there that are needed. */
export function isUnavailable(error: unknown): boolean {
  return error instanceof SluiceError && error.code === 'E_NODE_UNAVAILABLE';
}

/** It was tried and the host refused. */
export function failed(message: string, cause?: unknown): SluiceError {
  return new SluiceError('E_HOST_FAILED', message, { cause });
}

/** It is so already. */
export function notModified(message: string): SluiceError {
  return new SluiceError('E_OBJECT_UNCHANGED', message);
}
