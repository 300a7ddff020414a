/** Makes new keys with the management key. */
import { RotationError } from '../errors';
import type { Renewal, Secret } from '../rotation/ports';
import type { SecretName } from '../secret-name';
import type { MintedKey } from './answers';
import { Credential } from './credential';
import { accept, invalidIssue } from './issued';
import { readKey } from './key';
import type { MintRequest } from './key-api';
import type { ManagementKey } from './management-key';
import type { Issued } from './payload';
import { completeTerms, knownTerms, type Current } from './terms';
import { withReaders } from './words';

/** Each lost answer leaves a key behind that nobody holds, until it is revoked or expires. */
const LOST_ANSWERS = 3;

/** What makes a key ours: it is compared as a whole. */
export function description({ name }: SecretName): string {
  return `momento-key-rotator ${name}`;
}

/**
 * @param current undefined for a secret that has no version yet
 * @returns what stands in the way, as far as that is known without asking anybody
 */
export function mint(
  secret: Secret,
  current: Current | undefined,
  managementKey: Pick<ManagementKey, 'list' | 'mint'>,
  now: () => number,
): Renewal | RotationError {
  const known = knownTerms(secret, current);
  if (known instanceof RotationError) return known;
  return {
    by: 'mint',
    lostAnswers: LOST_ANSWERS,
    issue: async () => {
      const { role, lifetimeMs } = await completeTerms(known, () => managementKey.list());
      const expiresAt = now() + lifetimeMs;
      const request = { role, description: description(secret), expiresAt };
      const minted = await managementKey.mint(request);
      const issued = asAsked(minted, request, lifetimeMs);
      return accept(
        'mint',
        () => current?.credential.renewed(issued) ?? Credential.first(secret.payload, issued),
      );
    },
    refusal: (error, told) => withReaders(error, current?.credential, told.now),
  };
}

/** The lifetime need not be met to the second, but a key for ever, or for a moment, is not what was asked for. */
function asAsked(
  { api_key: apiKey, key_info: keyInfo }: MintedKey,
  { role, expiresAt }: MintRequest,
  lifetimeMs: number,
): Issued {
  const key = readKey(apiKey);
  if (
    key?.kind !== 'v2' ||
    key.expiresAt === undefined ||
    Math.abs(key.expiresAt - expiresAt) > lifetimeMs / 2 ||
    key.id !== keyInfo.key_id ||
    keyInfo.role_id !== role
  ) {
    throw invalidIssue('mint');
  }
  return { apiKey, keyInfo, expiresAt: key.expiresAt };
}
