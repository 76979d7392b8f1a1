import { invalid } from '../../base/faults.ts';

/** The newest API version that is spoken. */
export const API_VERSION = '1.50';
/** The oldest. */
export const MIN_API_VERSION = '1.24';

const minor = (version: string) => Number(version.split('.')[1]);

/** Splits `/v1.N/…`; without a version the newest holds. Throws for one that is not spoken. */
export function splitVersion(path: string): { path: string; version: number } {
  const [, version, rest] = /^\/v(\d+\.\d+)(\/.*)$/.exec(path) ?? [];
  if (version === undefined || rest === undefined) return { path, version: minor(API_VERSION) };
  const [major] = version.split('.');
  if (major !== '1' || minor(version) > minor(API_VERSION)) {
    throw invalid(
      `client version ${version} is too new. Maximum supported API version is ${API_VERSION}`,
    );
  }
  if (minor(version) < minor(MIN_API_VERSION)) {
    throw invalid(
      `client version ${version} is too old. Minimum supported API version is ${MIN_API_VERSION}, please upgrade your client to a newer version`,
    );
  }
  return { path: rest, version: minor(version) };
}
