/** Refreshes keys with their refresh tokens: v1 and legacy keys through Momento's SDK, v2 keys over HTTP. */
import { MomentoErrorCode, RefreshApiKey } from '@gomomento/sdk';
import { SECOND } from '../duration';
import { RotationError } from '../errors';
import type { CallLimits, IssuedKey, NextKey } from '../rotation/ports';
import type { SecretName } from '../secret-name';
import { isEpochSeconds, isToken, keyIdOfRefreshToken, readKey, trimKey } from './api-key';
import type { Credential } from './credential';
import { invalidIssue, keyExpired, limitExceeded, mintInstead } from './errors';
import { readKeyInfo, RefreshRefused, type KeyApi } from './key-api';
import { InvalidPayload, type Fields, type Issued } from './payload';
import { callFailed, type Sdk } from './sdk';

export interface RefreshServices {
  readonly sdk: Sdk;
  readonly api: Pick<KeyApi, 'refresh'>;
  readonly now: () => number;
}

/**
 * The next key by a refresh. An attempt with an unknown outcome can be repeated without limit: Momento refuses a v2 token that
 * was already used. Momento doesn't document whether a v1 token works only once.
 */
export function refresh(
  secret: SecretName,
  current: Credential,
  { sdk, api, now }: RefreshServices,
): NextKey {
  const isV2 = current.kind === 'v2';
  return {
    by: 'refresh',
    maxUnknownOutcomes: Infinity,
    issue: async (limits) =>
      isV2
        ? acceptV2(current, await api.refresh(current.refreshToken ?? '', limits), now())
        : acceptV1(current, await refreshV1(current, sdk, limits), now()),
    refusal: (error, { answerLost, now: time }) => {
      const action = `Create a new API key with a refresh token in the Momento console and store it as a new version of ${secret.name}, or ${mintInstead(isV2 ? 'v2' : 'older')}.`;
      if (current.expiresAt <= time) return keyExpired(secret.name, current.expiresAt, action);
      if (!(error instanceof RefreshRefused)) return error;
      // For v2 only 403 means that the token was already used. For v1 Momento doesn't document the answer to a used token.
      if (answerLost && (!isV2 || error.answer === 'HTTP 403'))
        return refreshAnswerLost(isV2, action);
      const problem = `Momento refused to refresh the key of ${secret.name} (${error.answer}). ${error.reason}`;
      return new RotationError('REFRESH_REFUSED', { problem, action });
    },
  };
}

function refreshAnswerLost(isV2: boolean, action: string): RotationError {
  return new RotationError('REFRESH_ANSWER_LOST', {
    problem: isV2
      ? "Momento issued a key, but its answer was lost on the network, and the key can't be recovered. Momento refused the next attempt, because a refresh token works once."
      : "Momento's answer to a refresh was lost on the network, and Momento refused the next attempt. The refresh token was probably used.",
    action,
  });
}

async function refreshV1(
  current: Credential,
  sdk: Sdk,
  limits: CallLimits,
): Promise<RefreshApiKey.Success> {
  const answer = await sdk.refresh(current, limits);
  if (answer instanceof RefreshApiKey.Success) return answer;
  if (!(answer instanceof RefreshApiKey.Error)) {
    throw invalidIssue('refresh', "it isn't one that the SDK documents");
  }
  const code = answer.errorCode();
  switch (code) {
    case MomentoErrorCode.LIMIT_EXCEEDED_ERROR:
      throw limitExceeded({ call: 'the refresh', answer: code });
    case MomentoErrorCode.TIMEOUT_ERROR:
    case MomentoErrorCode.SERVER_UNAVAILABLE:
    case MomentoErrorCode.CANCELLED_ERROR:
    case MomentoErrorCode.INTERNAL_SERVER_ERROR:
    case MomentoErrorCode.UNKNOWN_SERVICE_ERROR:
    case MomentoErrorCode.UNKNOWN_ERROR:
    case MomentoErrorCode.CONNECTION_ERROR:
    case MomentoErrorCode.CLIENT_RESOURCE_EXHAUSTED:
      throw callFailed(sdk.host(current), answer);
    default:
      throw new RefreshRefused(
        code,
        'The refresh token might be invalid or already used, or its key might have expired.',
      );
  }
}

type V1Answer = Pick<RefreshApiKey.Success, 'apiKey' | 'refreshToken' | 'endpoint' | 'expiresAt'>;

/** @throws RotationError ISSUED_CREDENTIAL_INVALID if the answer contains no usable key */
export function acceptV1(current: Credential, answer: V1Answer, now: number): IssuedKey {
  const apiKey = trimKey(answer.apiKey);
  const key = readKey(apiKey);
  if (key === undefined) throw invalidIssue('refresh', "its key isn't a Momento API key");
  const warnings: string[] = [];
  const seconds = answer.expiresAt.epoch();
  // A payload can contain only an expiry in valid epoch seconds.
  const expiries = [isEpochSeconds(seconds) ? seconds * SECOND : undefined, key.expiresAt];
  const validExpiry = expiries.find((time) => time !== undefined && time > now);
  if (validExpiry === undefined) {
    warnings.push(
      'The answer to the refresh contains no valid expiry, so the payload keeps the expiry of the previous key.',
    );
  }
  const refreshToken = readRefreshToken(answer.refreshToken, undefined, warnings);
  const endpoint = answer.endpoint.trim() === '' ? undefined : answer.endpoint.trim();
  const expiresAt = validExpiry ?? current.expiresAt;
  return toIssuedKey(current, { apiKey, refreshToken, endpoint, expiresAt }, warnings);
}

/** @throws RotationError ISSUED_CREDENTIAL_INVALID if the answer contains no usable key */
export function acceptV2(current: Credential, answer: Fields, now: number): IssuedKey {
  const apiKey = typeof answer.api_key === 'string' ? trimKey(answer.api_key) : undefined;
  if (apiKey === undefined) {
    const problem = answer.api_key === undefined ? 'is missing' : "isn't a string";
    throw invalidIssue('refresh', `its 'api_key' ${problem}`);
  }
  const key = readKey(apiKey);
  if (key?.kind !== 'v2') throw invalidIssue('refresh', "its 'api_key' isn't a v2 key");
  const warnings: string[] = [];
  const info = readKeyInfo(answer.key_info);
  const keyInfo = key.id === undefined || info?.key_id === key.id ? info : undefined;
  if (keyInfo === undefined) {
    warnings.push(
      "The answer to the refresh contains no valid 'key_info', so the payload doesn't contain the role of the new key.",
    );
  }
  const seconds = keyInfo?.expires_at_epoch_seconds;
  const expiresAt = key.expiresAt ?? (typeof seconds === 'number' ? seconds * SECOND : Infinity);
  if (expiresAt <= now) throw invalidIssue('refresh', 'its key has already expired');
  if (expiresAt === Infinity) {
    warnings.push('The key in the answer to the refresh never expires.');
  }
  const refreshToken = readRefreshToken(answer.refresh_token, key.id, warnings);
  const previous = answer.previous_key_id;
  if (typeof previous === 'string' && current.keyId !== undefined && previous !== current.keyId) {
    warnings.push(
      "The answer to the refresh names another key as the refreshed one ('previous_key_id').",
    );
  }
  return toIssuedKey(current, { apiKey, refreshToken, expiresAt, keyInfo }, warnings);
}

/** A key without a refresh token is usable, but blocks the next rotation. The warning gives the operator time to act. */
function readRefreshToken(
  value: unknown,
  keyId: string | undefined,
  warnings: string[],
): string | undefined {
  const token = typeof value === 'string' ? value.trim() : '';
  if (isToken(token)) {
    const owner = keyIdOfRefreshToken(token);
    if (owner !== undefined && keyId !== undefined && owner !== keyId) {
      warnings.push(blockedNext('with the refresh token of another key'));
    }
    return token;
  }
  const isMissing = value == null || (typeof value === 'string' && token === '');
  warnings.push(
    blockedNext(
      isMissing
        ? 'without a refresh token'
        : typeof value === 'string'
          ? 'with a refresh token that is too long, or contains characters that no token has'
          : "with a refresh token that isn't a string",
    ),
  );
  return undefined;
}

function blockedNext(problem: string): string {
  return `The answer to the refresh arrived ${problem}: the next rotation is blocked. Store a new key with its refresh token, or set MANAGEMENT_KEY.`;
}

function toIssuedKey(current: Credential, issued: Issued, warnings: readonly string[]): IssuedKey {
  try {
    return { credential: current.renewed(issued), warnings };
  } catch (thrown) {
    throw thrown instanceof InvalidPayload ? invalidIssue('refresh', thrown.reason) : thrown;
  }
}
