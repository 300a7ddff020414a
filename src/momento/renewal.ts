/** How the next key of a secret is got. */
import { RotationError } from '../errors';
import type { Renewal, Secret } from '../rotation/ports';
import { keyIdOfRefreshToken } from './key';
import type { KeyApi } from './key-api';
import type { ManagementKey } from './management-key';
import { mint } from './mint';
import { refreshV1 } from './refresh-v1';
import { refreshV2 } from './refresh-v2';
import type { Sdk } from './sdk';
import type { Current } from './terms';
import { managementKeyMissing, notRefreshable, roleUnknown, withReaders } from './words';

export interface Means {
  readonly sdk: Sdk;
  readonly api: Pick<KeyApi, 'refresh'>;
  /** Undefined where none is configured; it gives an error where the key cannot be used. */
  readonly managementKey:
    (() => Promise<Pick<ManagementKey, 'list' | 'mint'> | RotationError>) | undefined;
  readonly now: () => number;
}

/**
 *   the newest version holds             | without a management key | with one
 *   -------------------------------------+--------------------------+---------
 *   anything, and a role is configured   | refused                  | mint
 *   a v1 or legacy key, a refresh token  | refresh, SDK             | the same
 *   a v2 key and its refresh token       | refresh, HTTP            | mint
 *   a v2 key without one                 | refused                  | mint
 *   a v1 or legacy key without one       | refused                  | refused
 *
 * @param current undefined for a secret that has no version yet
 * @returns what stands in the way, if something does
 */
export async function renewal(
  secret: Secret,
  current: Current | undefined,
  { managementKey, sdk, api, now }: Means,
): Promise<Renewal | RotationError> {
  const credential = current?.credential;
  const refused = (error: RotationError): RotationError =>
    error.retryable || error.code === 'INTERNAL' ? error : withReaders(error, credential, now());

  if (secret.role !== undefined && managementKey === undefined) {
    return refused(managementKeyMissing());
  }
  if (managementKey !== undefined && (secret.role !== undefined || credential?.kind === 'v2')) {
    const key = await managementKey();
    return key instanceof RotationError ? refused(key) : mint(secret, current, key, now);
  }
  if (credential === undefined) return roleUnknown();

  const { kind, keyId, refreshToken } = credential;
  const notRefreshed = (why: string): RotationError => refused(notRefreshable(why, kind));
  if (refreshToken === undefined) {
    return notRefreshed(
      'it came without a refresh token, as a key does that never expires or was made without one',
    );
  }
  // It may be minted all the same; but nobody would know when to refresh it.
  if (kind !== 'v2') return credential.noExpiry ?? refreshV1(secret, credential, sdk);
  // It would be spent, for the successor of another key.
  if (![undefined, keyId].includes(keyIdOfRefreshToken(refreshToken))) {
    return notRefreshed('the refresh token beside it belongs to another key');
  }
  return refreshV2(secret, credential, api, now);
}
