/** Generates a v1 key with a super user key, through Momento's SDK. */
import { ExpiresIn, GenerateApiKey, MomentoErrorCode, type Permissions } from '@gomomento/sdk';
import { systemClock } from '../../src/clock';
import { SECOND } from '../../src/duration';
import { Credential } from '../../src/momento/credential';
import { InvalidPayload } from '../../src/momento/payload';
import { closeAuthClient, Sdk } from '../../src/momento/sdk';

/** An error for the user of this tool: problem, impact, action. The message contains no secret. */
export class Problem extends Error {}

export interface KeyProperties {
  readonly lifetimeMs: number;
  readonly permissions: Permissions;
}

/** @param payload in any format that the rotator reads */
export function readSuperUserKey(payload: Uint8Array): Credential {
  const key = parse(payload, "The super user key couldn't be read");
  if (key.kind === 'v2') {
    throw new Problem(
      'This is a v2 key, and only a v1 key can generate v1 keys. For v2 keys, give the rotator a management key, and each ' +
        'secret a role. Then the rotator mints the first key, and no person sees it.',
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
  { lifetimeMs, permissions }: KeyProperties,
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
  const key = parse(Buffer.from(JSON.stringify(json)), "Momento's answer contains no key");
  if (key.refreshToken === undefined) {
    throw new Problem(
      'Momento generated a key without a refresh token. Nothing was stored. Run this again.',
    );
  }
  return key;
}

function refusal(code: MomentoErrorCode): Problem {
  switch (code) {
    case MomentoErrorCode.AUTHENTICATION_ERROR:
      return new Problem(
        'Momento rejected the super user key: it has expired, or Momento never issued it. No key was generated. Generate a ' +
          'super user key in the Momento console.',
      );
    case MomentoErrorCode.PERMISSION_ERROR:
      return new Problem(
        "This key isn't a super user key, so Momento doesn't let it generate keys. No key was generated. Generate a super " +
          'user key in the Momento console.',
      );
    case MomentoErrorCode.INVALID_ARGUMENT_ERROR:
    case MomentoErrorCode.BAD_REQUEST_ERROR:
    case MomentoErrorCode.CACHE_NOT_FOUND_ERROR:
    case MomentoErrorCode.FAILED_PRECONDITION_ERROR:
    case MomentoErrorCode.LIMIT_EXCEEDED_ERROR:
      return new Problem(
        `Momento refused to generate a key (${code}). No key was generated. Check the options, such as the names of caches.`,
      );
    default:
      return new Problem(
        `Momento gave no clear answer (${code}). It might have generated a key that nobody received. A v1 key can't be ` +
          'revoked, so that key stays valid until it expires. Run this again.',
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
