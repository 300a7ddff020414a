import { jwt, NOW, SECOND } from '../support';
import { systemClock, type Clock } from '../../../src/clock';
import { RateLimiter } from '../../../src/rate-limiter';
import type { CallLimits } from '../../../src/rotation/ports';
import { Credential } from '../../../src/momento/credential';

/** No text may contain a piece of it. */
export const SECRET = 'Xk7-planted-pWq3Zr9Tn5';

export function inSeconds(ms: number): number {
  return Math.floor(ms / SECOND);
}

/** @param expiresAt milliseconds since the epoch; undefined for a key that never expires */
export function v2Key(id: string, expiresAt?: number): string {
  return `${jwt({ t: 'g', jti: id, exp: expiresAt && inSeconds(expiresAt) })}${SECRET}`;
}

export function v2RefreshToken(id: string): string {
  return `${jwt({ t: 'gr', akid: id })}${SECRET}`;
}

/** As Momento's API describes a key: issued now, for ten days. */
export function keyInfo(changes: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    key_id: 'key-1',
    account_id: 'acc-1',
    description: 'made by hand',
    role_id: 'r-viewer',
    issued_at_epoch_seconds: inSeconds(NOW),
    expires_at_epoch_seconds: inSeconds(NOW) + 864_000,
    ...changes,
  };
}

export function parse(payload: string | object): Credential {
  return Credential.parse(
    Buffer.from(typeof payload === 'string' ? payload : JSON.stringify(payload)),
  );
}

export function written(credential: { serialize(): Uint8Array }): Record<string, unknown> {
  return JSON.parse(Buffer.from(credential.serialize()).toString()) as Record<string, unknown>;
}

/** A rate that no test reaches. */
export function unlimited(clock: Clock = systemClock): RateLimiter {
  return new RateLimiter(clock, { calls: 1000, windowMs: 1 });
}

/** Enough time for anything local. */
export function limits(): CallLimits {
  return { deadline: systemClock.monotonic() + 25_000 };
}
