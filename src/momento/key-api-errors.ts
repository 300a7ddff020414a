/** What the answers of Momento's key API mean where they are errors, in words for an operator. */
import { SECOND } from '../duration';
import { RotationError } from '../errors';
import { errorWord } from './answers';
import type { Answer } from './http-client';

/** The error for an answer that may be another one at the next try. */
export function passing(answer: Answer, now: number, isRead: boolean): RotationError | undefined {
  const { status } = answer;
  const retryAfterMs = readRetryAfter(answer.retryAfter, now);
  if (status === 429) {
    return new RotationError(
      'MOMENTO_LIMIT_EXCEEDED',
      'Momento limits how often its key API is called, also after waiting. Readers keep the newest version. The next run ' +
        'goes on; if it persists, rotate fewer secrets at once.',
      { retryAfterMs },
    );
  }
  if (status < 500 && status !== 408) return undefined;
  return new RotationError(
    'MOMENTO_UNAVAILABLE',
    `Momento's key API failed (${told(answer)}), also when tried again. Readers keep the newest version. The next run goes ` +
      'on.',
    { retryAfterMs, mayHaveHadEffect: !isRead },
  );
}

export function managementKeyRefused(answer: Answer): RotationError | undefined {
  const why = new Map([
    [401, 'does not accept the management key: it was revoked, has expired, or is none of its own'],
    [403, 'does not let the management key do this: its role may not manage keys'],
  ]).get(answer.status);
  if (why === undefined) return undefined;
  return new RotationError(
    'MANAGEMENT_KEY_REFUSED',
    `Momento ${why} (${told(answer)}). Store a v2 key that may manage keys as a new version of the secret in ` +
      'MANAGEMENT_KEY.',
  );
}

export function mintRefused(answer: Answer): RotationError {
  const why =
    answer.status === 404
      ? `Momento has no such role as the new key was to have (${told(answer)}). Configure one that the Momento console shows.`
      : `Momento refused to make a new key (${told(answer)}). See that the Momento console lets you make one of this role ` +
        'and lifetime.';
  return new RotationError('MINT_REFUSED', why);
}

export function refreshRefused(answer: Answer): RotationError {
  const { status } = answer;
  if (status !== 404 && status !== 405) {
    return new RotationError(
      'REFRESH_REFUSED',
      `Momento refused to refresh the key (${told(answer)}).`,
    );
  }
  return new RotationError(
    'REFRESH_PATH_UNKNOWN',
    `Momento's key API knows no refresh under the path in MOMENTO_REFRESH_PATH (${told(answer)}); Momento has not ` +
      'published where it is. That spent nothing. Set MOMENTO_REFRESH_PATH to the path that Momento tells you, or set ' +
      'MANAGEMENT_KEY: then keys are minted, not refreshed.',
  );
}

/** For an answer that nothing can be done about from outside. */
export function unexpected(call: string, found: string): RotationError {
  return new RotationError(
    'INTERNAL',
    `Momento's key API answered ${call} in a way that the rotator does not know (${found}). Readers keep the newest ` +
      'version. Please report this: the API may have changed.',
  );
}

/** What an answer says of itself, as far as that cannot be a secret. */
export function told({ status, text }: Answer): string {
  const word = errorWord(text);
  return word === undefined ? `HTTP ${status}` : `HTTP ${status}, ${word}`;
}

/** Seconds, or a date. */
function readRetryAfter(header: string | undefined, now: number): number {
  if (header === undefined) return 0;
  const ms = /^\d+$/.test(header) ? Number(header) * SECOND : Date.parse(header) - now;
  return Number.isFinite(ms) ? Math.max(0, ms) : 0;
}
