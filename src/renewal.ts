/** The pure decisions: whether to rotate and why, which versions to retire, which to destroy. No I/O, no clock. */

/** A secret version. Times are in milliseconds since the epoch. */
export interface Version {
  readonly number: number;
  readonly state: 'ENABLED' | 'DISABLED' | 'DESTROYED';
  readonly createdAt: number;
  /** Unset for a version that was accessed but that no list has shown yet. */
  readonly etag?: string;
  /** Set while Secret Manager delays a destroy that somebody asked for (`version_destroy_ttl`). */
  readonly destroyScheduled?: boolean;
}

/** Renew when this much of a key's life remains: a length of time, or a share (0 to 1) of its lifetime. */
export type RenewBefore = { readonly ms: number } | { readonly share: number };

export interface RenewalPolicy {
  /** Unset: every run rotates. */
  readonly renewBefore?: RenewBefore;
  readonly gracePeriodMs: number;
  /** Unset: never. */
  readonly destroyAfterMs?: number;
}

/** The key that readers should be using: that of the newest enabled version. */
export interface CurrentKey {
  readonly version: Version;
  readonly expiresAt: number;
}

export interface Situation {
  readonly newest: Version;
  readonly current: CurrentKey;
  readonly now: number;
  /** The time for which Cloud Scheduler scheduled this run; unset for a run by hand. */
  readonly scheduledAt?: number;
  readonly force: boolean;
}

export type Decision =
  | { readonly rotate: true; readonly reason: string }
  | {
      readonly rotate: false;
      readonly outcome: 'not_due' | 'already_rotated';
      readonly reason: string;
    };

/** The time from which a key is due, in milliseconds since the epoch; undefined when every run renews it. */
export function renewalTime(
  { version, expiresAt }: CurrentKey,
  { renewBefore }: RenewalPolicy,
): number | undefined {
  if (renewBefore === undefined) return undefined;
  // A key is issued moments before its version is created, so the version's age stands for the key's.
  const lifetime = expiresAt - version.createdAt;
  return expiresAt - ('ms' in renewBefore ? renewBefore.ms : lifetime * renewBefore.share);
}

export function decide(situation: Situation, policy: RenewalPolicy): Decision {
  const { newest, current, now, scheduledAt, force } = situation;
  if (newest.number !== current.version.number) {
    return {
      rotate: true,
      reason: `version ${newest.number} is the newest but ${newest.state.toLowerCase()}, so readers of latest fail`,
    };
  }
  if (scheduledAt !== undefined && newest.createdAt >= scheduledAt) {
    return {
      rotate: false,
      outcome: 'already_rotated',
      reason: `version ${newest.number} was added since this run's scheduled time`,
    };
  }
  const due = renewalTime(current, policy);
  if (due === undefined) return { rotate: true, reason: 'every run rotates' };
  if (due <= now) return { rotate: true, reason: `due since ${new Date(due).toISOString()}` };
  if (force) return { rotate: true, reason: 'forced' };
  return { rotate: false, outcome: 'not_due', reason: `due at ${new Date(due).toISOString()}` };
}

/** The enabled versions to disable: those older than the newest whose grace period is over. */
export function versionsToRetire(
  versions: readonly Version[],
  policy: RenewalPolicy,
  now: number,
): Version[] {
  return superseded(versions, now)
    .filter(({ version, forMs }) => version.state === 'ENABLED' && forMs >= policy.gracePeriodMs)
    .map(({ version }) => version);
}

/** The disabled versions to destroy: never the newest, never one that this run itself disables. */
export function versionsToDestroy(
  versions: readonly Version[],
  { destroyAfterMs }: RenewalPolicy,
  now: number,
): Version[] {
  if (destroyAfterMs === undefined) return [];
  return superseded(versions, now)
    .filter(
      ({ version, forMs }) =>
        version.state === 'DISABLED' &&
        version.destroyScheduled !== true &&
        forMs >= destroyAfterMs,
    )
    .map(({ version }) => version);
}

/** The version that `latest` names: the one created last, whatever its state. */
export function newestVersion(versions: readonly Version[]): Version | undefined {
  return byAge(versions).at(-1);
}

export function newestEnabledVersion(versions: readonly Version[]): Version | undefined {
  return byAge(versions).findLast(({ state }) => state === 'ENABLED');
}

/**
 * Every version but the newest, with how long ago its successor was created. None while the newest is not enabled, because
 * then an older one is all that is left to readers; and none while the newest has no etag, because then no list has shown
 * it, and the numbers may be those of two secrets of the same name, one deleted and one made anew.
 */
function superseded(
  versions: readonly Version[],
  now: number,
): { version: Version; forMs: number }[] {
  const ordered = byAge(versions);
  const newest = ordered.at(-1);
  if (newest?.state !== 'ENABLED' || newest.etag === undefined) return [];
  // Secret Manager's clock may be ahead of ours, but no moment is before the newest version's creation.
  const moment = Math.max(now, newest.createdAt);
  return ordered.slice(0, -1).flatMap((version, index) => {
    const successor = ordered[index + 1] ?? newest;
    // Without its etag a version could be changed that somebody else has changed meanwhile.
    return version.etag === undefined ? [] : { version, forMs: moment - successor.createdAt };
  });
}

/** Oldest first. Numbers are given in the order of creation, and unlike times they are never equal. */
function byAge(versions: readonly Version[]): Version[] {
  return versions.toSorted((a, b) => a.number - b.number);
}
