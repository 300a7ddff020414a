/** Refreshes v1 and legacy keys through the SDK's AuthClient. The old key stays valid until its own expiry. */
import { MomentoErrorCode, RefreshApiKey } from '@gomomento/sdk';
import { SECOND } from '../duration';
import { RotationError } from '../errors';
import type { Renewal } from '../rotation/ports';
import type { SecretName } from '../secret-name';
import type { Credential } from './credential';
import { accept, invalidIssue } from './issued';
import { close, type Sdk } from './sdk';
import { refreshRefused } from './words';

export function refreshV1(secret: SecretName, current: Credential, sdk: Sdk): Renewal {
  return {
    by: 'refresh',
    // Nobody knows whether these refresh tokens work once, so the next try is always worth it.
    lostAnswers: Infinity,
    issue: () => refresh(current, sdk),
    refusal: (error, told) => refreshRefused(error, secret, current, told),
  };
}

async function refresh(current: Credential, sdk: Sdk): Promise<Credential> {
  const client = sdk.authClient(current);
  let answer;
  try {
    answer = await client.refreshApiKey(current.refreshToken ?? '');
  } finally {
    close(client);
  }
  if (answer instanceof RefreshApiKey.Error) throw refreshError(answer.errorCode());
  if (!(answer instanceof RefreshApiKey.Success)) throw invalidIssue('refresh');
  return successor(current, answer);
}

/** @throws RotationError ISSUED_CREDENTIAL_INVALID for an answer that readers, or the next refresh, could not use */
export function successor(
  current: Credential,
  {
    apiKey,
    refreshToken,
    endpoint,
    expiresAt,
  }: Pick<RefreshApiKey.Success, 'apiKey' | 'refreshToken' | 'endpoint' | 'expiresAt'>,
): Credential {
  if (refreshToken.trim() === '') throw invalidIssue('refresh');
  const next = accept('refresh', () =>
    current.renewed({ apiKey, refreshToken, endpoint, expiresAt: expiresAt.epoch() * SECOND }),
  );
  if (next.noExpiry !== undefined) throw invalidIssue('refresh');
  return next;
}

function refreshError(code: MomentoErrorCode): RotationError {
  switch (code) {
    case MomentoErrorCode.LIMIT_EXCEEDED_ERROR:
      return new RotationError(
        'MOMENTO_LIMIT_EXCEEDED',
        'Momento limits how often keys are refreshed, also after waiting. Readers keep the newest version. The next run ' +
          'goes on; if it persists, rotate fewer secrets at once.',
      );
    case MomentoErrorCode.TIMEOUT_ERROR:
    case MomentoErrorCode.SERVER_UNAVAILABLE:
    case MomentoErrorCode.CANCELLED_ERROR:
    case MomentoErrorCode.INTERNAL_SERVER_ERROR:
    case MomentoErrorCode.UNKNOWN_SERVICE_ERROR:
    case MomentoErrorCode.UNKNOWN_ERROR:
    case MomentoErrorCode.CONNECTION_ERROR:
      return new RotationError(
        'MOMENTO_UNAVAILABLE',
        `Momento did not answer the refresh (${code}), also when tried again. Readers keep the newest version. The next run ` +
          'goes on.',
        { mayHaveHadEffect: true },
      );
    default:
      return new RotationError('REFRESH_REFUSED', `Momento refused to refresh the key (${code}).`);
  }
}
