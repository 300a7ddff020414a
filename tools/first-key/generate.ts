/** Generates a v1 key with a super user key, as Momento's SDK does it. */
import { ExpiresIn, GenerateApiKey, MomentoErrorCode, type Permissions } from '@gomomento/sdk';
import { systemClock } from '../../src/clock';
import { SECOND } from '../../src/duration';
import { Credential } from '../../src/momento/credential';
import { InvalidPayload } from '../../src/momento/payload';
import { closeAuthClient, Sdk } from '../../src/momento/sdk';

/** What can be told to whoever started the tool: what happened, what it means, what to do. Nothing in it is secret. */
export class Problem extends Error {}

export interface Order {
  readonly lifetimeMs: number;
  readonly permissions: Permissions;
}

/** @param payload in any form in which the rotator reads a key */
export function readSuperUserKey(payload: Uint8Array): Credential {
  const key = parse(payload, 'The super user key cannot be read');
  if (key.kind === 'v2') {
    throw new Problem(
      'This is a v2 key, and only a v1 key makes v1 keys. For v2 keys, give the rotator a management key and each secret a ' +
        'role: it mints the first key itself, and nobody ever sees it.',
    );
  }
  return key;
}

/**
 * @returns the JSON that the Momento console downloads
 * @throws Problem
 */
export async function generate(
  superUserKey: Credential,
  { lifetimeMs, permissions }: Order,
  emulator: string | undefined,
): Promise<Credential> {
  const client = new Sdk(systemClock, emulator).authClient(superUserKey);
  let answer;
  try {
    answer = await client.generateApiKey(permissions, ExpiresIn.seconds(lifetimeMs / SECOND));
  } finally {
    closeAuthClient(client);
  }
  if (!(answer instanceof GenerateApiKey.Success)) throw refusal(answer.errorCode());
  const { apiKey, refreshToken, endpoint, expiresAt } = answer;
  const json = {
    apiKey,
    refreshToken,
    validUntil: expiresAt.epoch(),
    restEndpoint: `https://api.cache.${endpoint}`,
  };
  const key = parse(Buffer.from(JSON.stringify(json)), 'Momento answered something that is no key');
  if (key.refreshToken === undefined) {
    throw new Problem('Momento made a key without a refresh token. Nothing was stored.');
  }
  return key;
}

function refusal(code: MomentoErrorCode): Problem {
  switch (code) {
    case MomentoErrorCode.AUTHENTICATION_ERROR:
      return new Problem(
        'Momento does not accept the super user key: it has expired, or is none of its own. No key was made.',
      );
    case MomentoErrorCode.PERMISSION_ERROR:
      return new Problem(
        'Momento does not let this key make others: it is no super user key. No key was made. Make one of that kind in the ' +
          'Momento console.',
      );
    case MomentoErrorCode.INVALID_ARGUMENT_ERROR:
    case MomentoErrorCode.BAD_REQUEST_ERROR:
    case MomentoErrorCode.CACHE_NOT_FOUND_ERROR:
    case MomentoErrorCode.FAILED_PRECONDITION_ERROR:
    case MomentoErrorCode.LIMIT_EXCEEDED_ERROR:
      return new Problem(`Momento refused to make a key (${code}). No key was made.`);
    default:
      return new Problem(
        `Momento gave no clear answer (${code}). Run this again. It may have made a key that nobody holds; nobody can ` +
          'revoke a v1 key, so that one ends at its own expiry.',
      );
  }
}

function parse(payload: Uint8Array, what: string): Credential {
  try {
    return Credential.parse(payload);
  } catch (thrown) {
    throw thrown instanceof InvalidPayload ? new Problem(`${what}: ${thrown.problem}.`) : thrown;
  }
}
