/** The role and the lifetime of the next key: from the configuration, the current payload, or Momento's list of keys. */
import { DAY, HOUR, MINUTE, SECOND } from '../duration';
import { RotationError } from '../errors';
import type { Secret, Version } from '../rotation/ports';
import type { KeyInfo } from './answers';
import type { Credential } from './credential';
import { lifetimeUnknown, roleUnknown } from './words';

/** The newest key of a secret. */
export interface Current {
  readonly version: Version;
  readonly credential: Credential;
}

export interface Terms {
  readonly role: string;
  readonly lifetimeMs: number;
}

/** What is known without asking anybody; the list may tell the rest of a key that has an id. */
export interface KnownTerms {
  readonly role: string | undefined;
  readonly lifetimeMs: number | undefined;
  readonly keyId: string | undefined;
}

/** @returns an error if the list could not complete them either */
export function knownTerms(
  secret: Secret,
  current: Current | undefined,
): KnownTerms | RotationError {
  const credential = current?.credential;
  const role = secret.role ?? credential?.role;
  const lifetimeMs = secret.lifetimeMs ?? (current && ownLifetime(current));
  const keyId = credential?.keyId;
  if (lifetimeMs === undefined && credential?.expiresAt === Infinity) {
    return lifetimeUnknown('The current key never expires, and every key that is made does.');
  }
  if (keyId === undefined && role === undefined) return roleUnknown();
  if (keyId === undefined && lifetimeMs === undefined) return lifetimeUnknown(NOBODY_TELLS);
  return { role, lifetimeMs, keyId };
}

/** @throws RotationError ROLE_UNKNOWN or LIFETIME_UNKNOWN */
export async function completeTerms(
  { role, lifetimeMs, keyId }: KnownTerms,
  list: () => Promise<readonly KeyInfo[]>,
): Promise<Terms> {
  if (role !== undefined && lifetimeMs !== undefined) return { role, lifetimeMs };
  const listed = (await list()).find(({ key_id }) => key_id === keyId);
  const terms = {
    role: role ?? listed?.role_id,
    lifetimeMs: lifetimeMs ?? (listed && listedLifetime(listed)),
  };
  if (terms.role === undefined) throw roleUnknown();
  if (terms.lifetimeMs === undefined) throw lifetimeUnknown(NOBODY_TELLS);
  return { role: terms.role, lifetimeMs: terms.lifetimeMs };
}

const NOBODY_TELLS =
  "The configuration does not, and neither the newest version nor Momento's list of keys tells for how long the current " +
  'key was made.';

/**
 * A payload that does not say when its key was issued was stored at about that time. But a key of less than a day may as
 * well be an old one that somebody stored late.
 */
function ownLifetime({ version, credential }: Current): number | undefined {
  const { expiresAt, issuedAt, keyId } = credential;
  if (expiresAt === Infinity) return undefined;
  if (issuedAt !== undefined) return span(issuedAt, expiresAt, 1);
  return keyId === undefined ? span(version.createdAt, expiresAt, DAY) : undefined;
}

function listedLifetime(info: KeyInfo): number | undefined {
  const { issued_at_epoch_seconds: issued, expires_at_epoch_seconds: expires } = info;
  return expires == null ? undefined : span(issued * SECOND, expires * SECOND, 1);
}

/** The seconds that a key took to be made are no part of its lifetime, or it would be shorter with each successor. */
function span(from: number, to: number, atLeast: number): number | undefined {
  const ms = to - from;
  if (ms < atLeast) return undefined;
  return ms < HOUR ? ms : Math.round(ms / MINUTE) * MINUTE;
}
