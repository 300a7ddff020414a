/** Mints keys with the management key: determines role and lifetime, and checks that the answer matches them. */
import { HOUR, MINUTE, SECOND } from '../duration';
import { RotationError } from '../errors';
import type { CallLimits, CurrentKey, IssuedKey, NextKey, Secret } from '../rotation/ports';
import type { SecretName } from '../secret-name';
import { readKey, trimKey } from './api-key';
import { Credential } from './credential';
import { invalidIssue, lifetimeUnknown, limitExceeded, roleUnknown } from './errors';
import { readKeyInfo, type MintRequest } from './key-api';
import type { ManagementKey } from './management-key';
import { InvalidPayload, type Fields } from './payload';

/** Each attempt with an unknown outcome can leave an orphaned key, until it expires or is revoked. */
const MAX_UNKNOWN_OUTCOMES = 3;

export type Minter = Pick<ManagementKey, 'list' | 'count' | 'mint'>;

/** The description of the keys that the rotator mints for a secret. The rotator recognizes these keys by the whole text. */
export function descriptionOf({ name }: SecretName): string {
  return `momento-key-rotator ${name}`;
}

/**
 * @param current undefined for a secret without a readable version
 * @returns the error that blocks the mint, if it is known without a call to Momento
 */
export function mint(
  secret: Secret,
  current: CurrentKey<Credential> | undefined,
  managementKey: Minter,
  now: () => number,
): NextKey | RotationError {
  const terms = knownTerms(secret, current?.credential);
  if (terms instanceof RotationError) return terms;
  return {
    by: 'mint',
    maxUnknownOutcomes: MAX_UNKNOWN_OUTCOMES,
    needsCurrentKey: terms.role === undefined || terms.lifetimeMs === undefined,
    issue: async (limits) => {
      const { role, lifetimeMs } = await completeTerms(secret, terms, managementKey, limits);
      const request = {
        secret: secret.name,
        role,
        description: descriptionOf(secret),
        expiresAt: now() + lifetimeMs,
      };
      const answer = await mintOrCount(managementKey, request, limits);
      return accept(answer, request, lifetimeMs, (issued) => {
        return current?.credential.renewed(issued) ?? Credential.first(secret.payload, issued);
      });
    },
    refusal: (error) => error,
  };
}

/** Mints a key. If Momento limits the call, the error names the number of the account's keys, which Momento also limits. */
async function mintOrCount(
  managementKey: Minter,
  request: MintRequest,
  limits: CallLimits,
): Promise<Fields> {
  try {
    return await managementKey.mint(request, limits);
  } catch (thrown) {
    if (!(thrown instanceof RotationError) || !thrown.quota) throw thrown;
    const accountKeys = await managementKey.count(limits);
    const { retryAfterMs } = thrown;
    throw limitExceeded({ call: 'the mint', answer: 'HTTP 429', retryAfterMs, accountKeys });
  }
}

/**
 * Checks a minted key. A key without a description is usable, so it is accepted. A key with another role or lifetime isn't.
 * A key without an id isn't accepted either: the rotator couldn't see that a version references it, and would revoke it.
 */
function accept(
  answer: Fields,
  { role, expiresAt }: MintRequest,
  lifetimeMs: number,
  store: (issued: Parameters<Credential['renewed']>[0]) => Credential,
): IssuedKey {
  const apiKey = typeof answer.api_key === 'string' ? trimKey(answer.api_key) : '';
  const key = readKey(apiKey);
  if (key?.kind !== 'v2') throw invalidIssue('mint', "its 'api_key' isn't a v2 key");
  if (key.id === undefined) throw invalidIssue('mint', 'its key has no id');
  if (key.expiresAt === undefined) throw invalidIssue('mint', 'its key never expires');
  if (Math.abs(key.expiresAt - expiresAt) > lifetimeMs / 2) {
    throw invalidIssue('mint', "its key doesn't have the requested lifetime");
  }
  const info = readKeyInfo(answer.key_info);
  const keyInfo = info?.key_id === key.id ? info : undefined;
  if (keyInfo !== undefined && keyInfo.role_id !== role) {
    throw invalidIssue('mint', "its key doesn't have the requested role");
  }
  try {
    return {
      credential: store({ apiKey, keyInfo, expiresAt: key.expiresAt }),
      warnings:
        keyInfo === undefined
          ? [
              "Momento's answer to the mint contains no valid 'key_info', so the role of the new key isn't confirmed.",
            ]
          : [],
    };
  } catch (thrown) {
    throw thrown instanceof InvalidPayload ? invalidIssue('mint', thrown.reason) : thrown;
  }
}

interface Terms {
  readonly role: string;
  readonly lifetimeMs: number;
}

/** The terms that are known without Momento's list of keys. If the key has an id, the list can complete them. */
interface KnownTerms {
  readonly role: string | undefined;
  readonly lifetimeMs: number | undefined;
  readonly keyId: string | undefined;
}

const NOT_FOUND =
  "The configuration doesn't contain it. Neither the newest version nor Momento's list of keys contains the time of issue of the current key.";

/** @returns an error if the list of keys can't complete the terms either */
function knownTerms(
  { name, role: configured, lifetimeMs: configuredMs }: Secret,
  credential: Credential | undefined,
): KnownTerms | RotationError {
  const role = configured ?? credential?.role;
  const lifetimeMs = configuredMs ?? (credential && lifetimeOf(credential));
  const keyId = credential?.keyId;
  if (lifetimeMs === undefined && credential?.expiresAt === Infinity) {
    return lifetimeUnknown(name, 'The current key never expires, and a minted key must expire.');
  }
  if (keyId === undefined && role === undefined) return roleUnknown(name);
  if (keyId === undefined && lifetimeMs === undefined) return lifetimeUnknown(name, NOT_FOUND);
  return { role, lifetimeMs, keyId };
}

/** @throws RotationError ROLE_UNKNOWN or LIFETIME_UNKNOWN */
async function completeTerms(
  { name }: Secret,
  { role, lifetimeMs, keyId = '' }: KnownTerms,
  managementKey: Minter,
  limits: CallLimits,
): Promise<Terms> {
  if (role !== undefined && lifetimeMs !== undefined) return { role, lifetimeMs };
  const listed = (await managementKey.list(limits)).keys.get(keyId);
  const terms = {
    role: role ?? listed?.role,
    lifetimeMs: lifetimeMs ?? (listed && lifetimeOf(listed)),
  };
  if (terms.role === undefined) throw roleUnknown(name);
  if (terms.lifetimeMs === undefined) throw lifetimeUnknown(name, NOT_FOUND);
  return { role: terms.role, lifetimeMs: terms.lifetimeMs };
}

/**
 * The lifetime of a key, if its time of issue is known. The age of its version isn't the age of the key, because somebody
 * might have stored the key again. Rounding removes the seconds that the issue took. Otherwise each next key would live
 * shorter.
 */
function lifetimeOf({
  issuedAt,
  expiresAt,
}: {
  readonly issuedAt?: number | undefined;
  readonly expiresAt: number;
}): number | undefined {
  if (issuedAt === undefined || expiresAt === Infinity) return undefined;
  const ms = expiresAt - issuedAt;
  if (ms < SECOND) return undefined;
  return ms < HOUR ? ms : Math.round(ms / MINUTE) * MINUTE;
}
