/** The decision: whether to rotate, and why. No I/O, no clock. */
import { isoTime } from '../duration';
import { RotationError } from '../errors';
import type { CurrentKey, Permission } from './ports';
import type { Decision, Found } from './steps';

/** Renew when this much of a key's life remains: a length of time, or a share (0 to 1) of its lifetime. */
export type RenewBefore = { readonly ms: number } | { readonly share: number };

export interface RenewalPolicy {
  /** Unset: every run rotates. */
  readonly renewBefore?: RenewBefore;
  readonly gracePeriodMs: number;
  /** Unset: never. */
  readonly destroyAfterMs?: number;
  /** Whether a key is proved before it is added, and before anything older ends. */
  readonly verify: boolean;
  /** Whether keys that were minted end at their issuer when no version holds them any more. */
  readonly revoke: boolean;
}

export interface Situation {
  readonly found: Pick<Found, 'newest' | 'current' | 'missing' | 'next'>;
  /** Whether a key was issued for this secret that is not stored yet. */
  readonly isPending: boolean;
  readonly now: number;
  readonly scheduledAt?: number;
  readonly force: boolean;
}

export function decide(situation: Situation, policy: RenewalPolicy): Decision {
  const { found, isPending, now, scheduledAt, force } = situation;
  const { newest, current, missing, next } = found;
  const rotate = (reason: string): Decision => ({ action: 'rotate', reason });

  // A key that waits may be the last there will be: what stands in the way of another one does not stand in its way.
  if (next instanceof RotationError && (!isPending || missing.length > 0)) {
    return { action: 'refuse', error: next };
  }
  if (isPending) return rotate('an earlier run issued a key that is not stored yet');
  if (newest === undefined || current === undefined) return rotate('the secret is empty');
  if (newest.number !== current.version.number) {
    return rotate(
      `version ${newest.number} is the newest but ${newest.state.toLowerCase()}, so readers of latest fail`,
    );
  }
  if (scheduledAt !== undefined && newest.createdAt >= scheduledAt) {
    return {
      action: 'keep',
      outcome: 'already_rotated',
      reason: `version ${newest.number} was added since this run's scheduled time`,
    };
  }
  const due = renewalTime(current, policy);
  if (due === undefined) return rotate('every run rotates');
  if (due === -Infinity) return rotate('the key never expires');
  if (due <= now) return rotate(`due since ${isoTime(due)}`);
  if (force) return rotate('forced');
  return { action: 'keep', outcome: 'not_due', reason: `due at ${isoTime(due)}` };
}

/** What the function has to be allowed to do with a secret, so that a rotation can end as it should. */
export function permissionsFor({ destroyAfterMs }: RenewalPolicy): Permission[] {
  return [
    'access',
    'list',
    'add',
    'disable',
    ...(destroyAfterMs === undefined ? [] : ['destroy' as const]),
  ];
}

/** The time from which a key is due, in milliseconds since the epoch; undefined when every run renews it. */
export function renewalTime(
  { version, credential }: CurrentKey,
  { renewBefore }: Pick<RenewalPolicy, 'renewBefore'>,
): number | undefined {
  if (renewBefore === undefined) return undefined;
  const { expiresAt } = credential;
  // What takes its place expires: a key without an expiry that could not be replaced by such a one has no next key.
  if (expiresAt === Infinity) return -Infinity;
  // A key is issued moments before its version is added, so the version's age may stand for the key's.
  const lifetime = expiresAt - (credential.issuedAt ?? version.createdAt);
  return expiresAt - ('ms' in renewBefore ? renewBefore.ms : lifetime * renewBefore.share);
}
