/** What an operator is told about keys that cannot be renewed: what it means for readers, who has to do what, by when. */
import { isoTime } from '../duration';
import { RotationError } from '../errors';
import type { SecretName } from '../secret-name';
import type { Credential } from './credential';
import type { KeyKind } from './key';

export const VENDOR = 'Momento';
export const REMEDY = 'a new key from the Momento console';

/** @param why goes on after `The newest key cannot be renewed:` */
export function notRefreshable(why: string, kind: KeyKind): RotationError {
  return new RotationError(
    'KEY_NOT_REFRESHABLE',
    `The newest key cannot be renewed: ${why}. Nothing was changed. Store a key that expires, with its refresh token, as a new ` +
      `version; or ${mintInstead(kind)}, so that keys are minted; or take the secret out of SECRETS.`,
  );
}

/** What has to be configured for that. */
function mintInstead(kind: KeyKind): string {
  return kind === 'v2' ? 'set MANAGEMENT_KEY' : "set MANAGEMENT_KEY and give the secret a 'role'";
}

export function managementKeyMissing(): RotationError {
  return new RotationError(
    'MANAGEMENT_KEY_MISSING',
    'Keys of a role that the configuration gives are minted, which takes a management key, and none is configured. Nothing ' +
      'was changed. Set MANAGEMENT_KEY to a secret that holds a v2 key which may manage keys, or take the ' +
      "'role' out of SECRETS.",
  );
}

export function managementKeyInvalid(problem: string): RotationError {
  return new RotationError(
    'MANAGEMENT_KEY_INVALID',
    `The management key cannot be used: ${problem}. No key can be made or revoked without it. Store a ` +
      'v2 key that may manage keys as a new version of the secret in MANAGEMENT_KEY.',
  );
}

export function roleUnknown(): RotationError {
  return new RotationError(
    'ROLE_UNKNOWN',
    'Nothing says which role the next key of this secret is to have: the configuration names none, and neither the newest ' +
      "version nor Momento's list of keys tells that of the current key. No key was made; readers keep what they have. " +
      "Give the secret a 'role' in SECRETS.",
  );
}

/** @param why as a sentence */
export function lifetimeUnknown(why: string): RotationError {
  return new RotationError(
    'LIFETIME_UNKNOWN',
    `Nothing says how long the next key of this secret is to live. ${why} No key was made; readers keep what they have. ` +
      "Give the secret a 'lifetime' in SECRETS.",
  );
}

/** The error for a refusal to refresh. */
export function refreshRefused(
  cause: RotationError,
  secret: SecretName,
  { expiresAt, kind }: Credential,
  { answerLost, now }: { answerLost: boolean; now: number },
): RotationError {
  const expiry = isoTime(expiresAt);
  const remedy = `create a new API key with a refresh token in the Momento console and store it as a new version of ${secret.name}, or ${mintInstead(kind)}, so that one is minted`;
  if (expiresAt <= now) {
    return new RotationError(
      'KEY_EXPIRED',
      `The newest key expired at ${expiry} and Momento does not refresh an expired key. Readers are refused by Momento. ` +
        `Act now: ${remedy}.`,
      { cause },
    );
  }
  if (answerLost) {
    return new RotationError(
      'REFRESH_ANSWER_LOST',
      "Momento's answer to a refresh was lost on the way, and it refused the next try: the refresh token is probably " +
        `spent. Readers keep a working key until ${expiry}; before then, ${remedy}.`,
      { cause },
    );
  }
  return new RotationError(
    'REFRESH_REFUSED',
    `${cause.message} Readers keep the newest version, whose key expires at ${expiry}. No run can get past this: ` +
      `before then, ${remedy}.`,
    { cause },
  );
}

/** An error that says what has to be done, with what it means for readers, and until when. */
export function withReaders(
  cause: RotationError,
  current: Credential | undefined,
  now: number,
): RotationError {
  return new RotationError(cause.code, `${cause.message} ${readers(current, now)}`, { cause });
}

function readers(current: Credential | undefined, now: number): string {
  if (current === undefined)
    return 'Until then the secret has no key, and its readers get nothing.';
  const { expiresAt } = current;
  if (expiresAt === Infinity) return 'Readers keep the newest version, whose key never expires.';
  return expiresAt > now
    ? `Readers keep the newest version, whose key expires at ${isoTime(expiresAt)}: act before then.`
    : `The newest key expired at ${isoTime(expiresAt)}: readers are refused by Momento until somebody acts.`;
}
