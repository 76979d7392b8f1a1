import type { RetryOn } from '../../model/service.ts';
import type { ExchangeFailure } from '../../net/http-exchange.ts';
import type { OutcomeClass } from '../ipc.ts';

/** The class of an ended attempt as health sees it. */
export function outcomeOf(failure: ExchangeFailure): OutcomeClass {
  if (failure === 'refused') return 'refused';
  return failure === 'timeout' || failure === 'connect-timeout' ? 'timeout' : 'reset';
}

/** Which of the conditions of a retry a failure is. */
export function retryCause(failure: ExchangeFailure): RetryOn {
  if (failure === 'refused' || failure === 'connect-timeout') return 'connect-failure';
  return failure === 'timeout' ? 'timeout' : 'reset';
}
