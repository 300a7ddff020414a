/** Refreshes v2 keys over HTTP. Their refresh token works once, so its answer is taken if readers can live with it. */
import { SECOND } from '../duration';
import { RotationError } from '../errors';
import type { Renewal } from '../rotation/ports';
import type { SecretName } from '../secret-name';
import type { RefreshedKey } from './answers';
import type { Credential } from './credential';
import { accept, invalidIssue } from './issued';
import { readKey } from './key';
import type { KeyApi } from './key-api';
import { refreshRefused, withReaders } from './words';

export function refreshV2(
  secret: SecretName,
  current: Credential,
  api: Pick<KeyApi, 'refresh'>,
  now: () => number,
): Renewal {
  return {
    by: 'refresh',
    // The answer cannot be got back otherwise; that the token is spent is known after one more try.
    lostAnswers: 1,
    issue: async () => {
      try {
        return successor(current, await api.refresh(current.refreshToken ?? ''), now());
      } catch (thrown) {
        throw pathUnknown(thrown) ? withReaders(thrown, current, now()) : thrown;
      }
    },
    refusal: (error, told) => refreshRefused(error, secret, current, told),
  };
}

function successor(current: Credential, answer: RefreshedKey, now: number): Credential {
  const { api_key: apiKey, refresh_token: refreshToken, key_info: keyInfo } = answer;
  const key = readKey(apiKey);
  const expiresAt = key?.expiresAt ?? (keyInfo?.expires_at_epoch_seconds ?? 0) * SECOND;
  if (key?.kind !== 'v2' || expiresAt <= now) throw invalidIssue('refresh');
  return accept('refresh', () =>
    current.renewed({ apiKey, refreshToken, expiresAt, ...(keyInfo && { keyInfo }) }),
  );
}

function pathUnknown(thrown: unknown): thrown is RotationError {
  return thrown instanceof RotationError && thrown.code === 'REFRESH_PATH_UNKNOWN';
}
