/** Decides how to obtain the next key of a secret. */
import { RotationError } from '../errors';
import type { CurrentKey, NextKey, Secret } from '../rotation/ports';
import { keyIdOfRefreshToken } from './api-key';
import type { Credential } from './credential';
import { notRefreshable, roleUnknown } from './errors';
import { mint, type Minter } from './mint';
import { refresh, type RefreshServices } from './refresh';

export interface RenewalServices extends RefreshServices {
  /** Reads the management key. Undefined if none is configured. */
  readonly managementKey: (() => Promise<Minter | RotationError>) | undefined;
}

/**
 * How the next key is obtained, by the newest version:
 *
 *   newest version                        | no management key        | management key
 *   --------------------------------------+--------------------------+------------------------
 *   any, and a role is configured         | (invalid configuration)  | mint
 *   v1 or legacy key, refresh token       | refresh through the SDK  | refresh through the SDK
 *   v1 or legacy key, no refresh token    | blocked                  | blocked
 *   v2 key, refresh token                 | refresh over HTTP        | mint
 *   v2 key, no refresh token              | blocked                  | mint
 *
 * @param current undefined for a secret without a readable version
 * @returns the error that blocks the rotation, if there is one
 */
export async function nextKey(
  secret: Secret,
  current: CurrentKey<Credential> | undefined,
  services: RenewalServices,
): Promise<NextKey | RotationError> {
  const { managementKey, now } = services;
  const credential = current?.credential;
  const isMinted = secret.role !== undefined || credential?.kind === 'v2';
  if (managementKey !== undefined && isMinted) {
    const key = await managementKey();
    return key instanceof RotationError ? key : mint(secret, current, key, now);
  }
  if (credential === undefined) return roleUnknown(secret.name);

  const { kind, keyId, refreshToken } = credential;
  const blocked = (reason: string): RotationError =>
    notRefreshable(secret.name, reason, kind === 'v2' ? 'v2' : 'older');
  if (refreshToken === undefined) {
    return blocked(
      'its version contains no refresh token, because the key never expires or was created without one',
    );
  }
  if (kind !== 'v2') return credential.missingExpiry ?? refresh(secret, credential, services);
  // The refresh would use up the token and renew the other key.
  if (![undefined, keyId].includes(keyIdOfRefreshToken(refreshToken))) {
    return blocked('the refresh token in its version belongs to another key');
  }
  return refresh(secret, credential, services);
}
