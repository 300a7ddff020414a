/** The rules of a rotation as pure functions: no I/O, no clock. Times are in milliseconds since the epoch. */
import { HOUR, isoTime } from '../duration';
import { RotationError } from '../errors';
import { ORPHAN_AGE, REPLACE_REJECTED_AGE } from './deadlines';
import type { Inspection } from './inspect';
import type { CurrentKey, KeyCheck, OwnKey, Permission, Secret, Version } from './ports';

/** How much of a key's lifetime remains when it becomes due. If both fields are set, the larger value counts. */
export interface RenewBefore {
  /** A share of the key's lifetime, from 0 to 1. */
  readonly share?: number | undefined;
  /** A length of time, which applies even if the key's lifetime isn't known. */
  readonly minimumMs?: number | undefined;
}

export interface RenewalPolicy {
  /** Unset: every run rotates. */
  readonly renewBefore?: RenewBefore | undefined;
  /** How long a superseded version stays enabled. */
  readonly gracePeriodMs: number;
  /** How long after it was superseded a disabled version is destroyed. Unset: never. */
  readonly destroyAfterMs?: number | undefined;
  /** Whether keys are verified before they are added, and before anything older is cleaned up. */
  readonly verify: boolean;
  /** Whether minted keys are revoked when no version contains them. */
  readonly revoke: boolean;
}

/**
 * The minimum that applies if only a share is configured and the key's lifetime isn't known. An old key that was stored
 * again looks new, so a share alone would renew it too late. With this minimum, a daily schedule renews the key in time.
 */
const DEFAULT_MINIMUM_MS = 48 * HOUR;

export type Decision =
  | { readonly action: 'rotate'; readonly reason: string }
  | {
      readonly action: 'skip';
      readonly outcome: 'not_due' | 'already_rotated';
      readonly reason: string;
    }
  /** Rotation isn't possible until an operator acts. */
  | { readonly action: 'block'; readonly error: RotationError };

export interface Situation {
  readonly inspection: Inspection;
  /** Whether an earlier run issued a credential that isn't stored yet. */
  readonly hasUnsaved: boolean;
  readonly now: number;
  readonly scheduledAt?: number | undefined;
  readonly publishedAt?: number | undefined;
  readonly force: boolean;
}

/**
 * Whether to rotate, and why. The first rule that applies decides:
 *
 * 1. blocked, unless an unsaved credential only has to be stored
 * 2. an unsaved credential, an empty secret, a newest version that applications can't read
 * 3. an expired key
 * 4. a version that was added since the message was published
 * 5. `force`
 * 6. a version that was added since the scheduled time
 * 7. the renewal time
 */
export function decide(situation: Situation, policy: RenewalPolicy): Decision {
  const { inspection, hasUnsaved, now, scheduledAt, publishedAt, force } = situation;
  const { newest, current, missing, next } = inspection;
  const rotate = (reason: string): Decision => ({ action: 'rotate', reason });

  // To store an unsaved credential, a run needs permissions, but no next key.
  if (next instanceof RotationError && (!hasUnsaved || missing.length > 0)) {
    return { action: 'block', error: next };
  }
  if (hasUnsaved) return rotate("an earlier run issued a key that isn't stored yet");
  if (newest === undefined) return rotate('the secret was empty');
  if (current?.version.number !== newest.number) {
    return rotate(`version ${newest.number}, the newest, ${whyUnusable(inspection, newest)}`);
  }
  const expired = current.credential.expiresAt <= now;
  if (expired) return rotate(`the key expired at ${isoTime(current.credential.expiresAt)}`);
  // Of an incomplete version only the latest possible time is known.
  const isSince = (time = Infinity): boolean =>
    newest.incomplete !== true && newest.createdAt >= time;
  const alreadyRotated = (since: string): Decision => ({
    action: 'skip',
    outcome: 'already_rotated',
    reason: `version ${newest.number} was added since ${since}`,
  });
  if (isSince(publishedAt)) return alreadyRotated('the message was published');
  if (force) return rotate('forced');
  if (isSince(scheduledAt)) return alreadyRotated("this run's scheduled time");
  const due = renewalTime(current, inspection.issuedAt, policy, inspection.storedSince);
  if (due === undefined) return rotate('every run rotates');
  if (due === -Infinity) return rotate('the key never expires');
  if (due <= now) return rotate(`due since ${isoTime(due)}`);
  return { action: 'skip', outcome: 'not_due', reason: `due at ${isoTime(due)}` };
}

export function whyUnusable({ unreadable }: Inspection, version: Version): string {
  const reason = unreadable.get(version.number);
  return reason === undefined
    ? `is ${version.state.toLowerCase()}`
    : `is enabled and can't be read (${reason})`;
}

/**
 * Decides whether a run replaces a rejected key that isn't due. A run replaces only minted keys, and only if the issuer's own
 * API or list shows that the key is gone. A rejection by another host doesn't suffice: the configured host might be wrong.
 *
 * @param listed the state of the key in the issuer's list
 */
export function replaceRejected(
  { current, next }: Inspection,
  check: KeyCheck & { readonly verdict: 'rejected' },
  listed: 'valid' | 'expired' | 'absent' | 'unknown',
  now: number,
): { readonly replace: true } | { readonly replace: false; readonly reason: string } {
  if (next instanceof RotationError || next.by !== 'mint') {
    return { replace: false, reason: "its keys aren't minted" };
  }
  if (current !== undefined && now - current.version.createdAt < REPLACE_REJECTED_AGE) {
    return { replace: false, reason: 'it is younger than an hour' };
  }
  if (check.byIssuer || listed === 'absent' || listed === 'expired') return { replace: true };
  return {
    replace: false,
    reason:
      listed === 'valid'
        ? `the account's list shows it as valid, so ${check.host} is probably the wrong host`
        : "the account's list of keys couldn't be read",
  };
}

/**
 * The blocker that is known without using a refresh token. A real run nevertheless tries to refresh an expired key once,
 * because the issuer's clock decides whether the key has expired.
 */
export function visibleBlocker(
  { current, next, unreadable }: Inspection,
  issuer: string,
  newCredential: string,
  now: number,
): RotationError | undefined {
  if (next instanceof RotationError) return next;
  if (next.by !== 'refresh' || current === undefined || unreadable.size > 0) return undefined;
  const { expiresAt } = current.credential;
  if (expiresAt > now) return undefined;
  return new RotationError('KEY_EXPIRED', {
    problem: `The key of version ${current.version.number} expired at ${isoTime(expiresAt)}, and ${issuer} doesn't refresh an expired key.`,
    action: `Store ${newCredential} as a new version now.`,
  });
}

/** The permissions that a rotation needs from the first to the last step. */
export function permissionsFor({ destroyAfterMs }: RenewalPolicy): Permission[] {
  return [
    'access',
    'list',
    'add',
    'disable',
    ...(destroyAfterMs === undefined ? [] : ['destroy' as const]),
  ];
}

/**
 * The time from which a key is due; undefined if every run rotates. A key that never expires is always due (`-Infinity`),
 * because its next key expires.
 *
 * If the time of issue isn't known, neither is the lifetime. Then the first version with the key gives a lower bound of the
 * lifetime, and a minimum applies.
 */
export function renewalTime(
  { version, credential: { expiresAt } }: CurrentKey,
  issuedAt: number | undefined,
  { renewBefore }: Pick<RenewalPolicy, 'renewBefore'>,
  storedSince = version.createdAt,
): number | undefined {
  if (renewBefore === undefined) return undefined;
  if (expiresAt === Infinity) return -Infinity;
  const { share = 0, minimumMs } = renewBefore;
  // A key is older than its version. A later time of issue is wrong, and would make the key due too late.
  const latestIssuedAt = Math.min(issuedAt ?? Infinity, storedSince);
  const lifetimeMs = Math.max(0, expiresAt - latestIssuedAt);
  const least = minimumMs ?? (issuedAt === undefined ? DEFAULT_MINIMUM_MS : 0);
  return expiresAt - Math.max(lifetimeMs * share, least);
}

/** When the key was issued, if that is certain: from the key, from the payload, or from the configured lifetime. */
export function knownIssueTime(
  { credential }: CurrentKey,
  { lifetimeMs }: Pick<Secret, 'lifetimeMs'>,
): number | undefined {
  const { issuedAt, expiresAt } = credential;
  if (issuedAt !== undefined || expiresAt === Infinity) return issuedAt;
  return lifetimeMs === undefined ? undefined : expiresAt - lifetimeMs;
}

/** Ascending by number. Numbers follow the order of creation, and unlike times they are never equal. */
export function ascending(versions: readonly Version[]): Version[] {
  return versions.toSorted((a, b) => a.number - b.number);
}

/** The version that `latest` names: the one that was added last, whatever its state. */
export function newestVersion(versions: readonly Version[]): Version | undefined {
  return ascending(versions).at(-1);
}

export interface VersionPlan {
  readonly disable: readonly Version[];
  readonly destroy: readonly Version[];
}

/**
 * Plans the cleanup of the versions that `newest` supersedes. A later run destroys the versions that this run disables.
 *
 * The plan is empty until a list has shown the newest version. If the secret was recreated, a lagging list might contain the
 * versions of the deleted secret.
 */
export function planVersions(
  versions: readonly Version[],
  newest: Version,
  { gracePeriodMs, destroyAfterMs = Infinity }: RenewalPolicy,
  missing: readonly Permission[],
  now: number,
): VersionPlan {
  if (newest.unlisted === true) return { disable: [], destroy: [] };
  const older = versions.filter(({ number }) => number < newest.number);
  // A version that is listed twice must not count as superseded by itself: that would shorten its grace period.
  const unique = new Map([...older, newest].map((version) => [version.number, version]));
  const known = ascending([...unique.values()]);
  const superseded = known.slice(0, -1).map((version, index) => ({
    version,
    // If the store's clock is ahead of the function's, the version counts as superseded just now.
    forMs: Math.max(0, now - (known[index + 1] ?? newest).createdAt),
  }));
  // A version whose state or time couldn't be read is left alone.
  const changeable = superseded.filter(({ version }) => version.incomplete !== true);
  const due = (state: Version['state'], afterMs: number): Version[] =>
    changeable
      .filter(({ version, forMs }) => version.state === state && forMs >= afterMs)
      .map(({ version }) => version);
  return {
    disable: missing.includes('disable') ? [] : due('ENABLED', gracePeriodMs),
    destroy: missing.includes('destroy')
      ? []
      : due('DISABLED', destroyAfterMs).filter(({ destroyScheduled }) => destroyScheduled !== true),
  };
}

/** The ids of keys that aren't known to be referenced, and that are so old that no run will add them any more. */
export function orphanCandidates(
  keys: readonly OwnKey[],
  referenced: readonly (string | undefined)[],
  now: number,
): string[] {
  return keys
    .filter(({ keyId, issuedAt }) => now - issuedAt > ORPHAN_AGE && !referenced.includes(keyId))
    .map(({ keyId }) => keyId);
}
