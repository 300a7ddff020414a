/** What is left to end: versions to retire and to destroy, keys to revoke. No I/O, no clock. */
import { ORPHAN_AGE } from './budget';
import type { RenewalPolicy } from './decide';
import type { OwnKey, Version } from './ports';
import { byAge } from './versions';

/** The enabled versions to disable: those older than the newest whose grace period is over. */
export function versionsToRetire(
  versions: readonly Version[],
  { gracePeriodMs }: Pick<RenewalPolicy, 'gracePeriodMs'>,
  now: number,
): Version[] {
  return superseded(versions, now)
    .filter(({ version, forMs }) => version.state === 'ENABLED' && forMs >= gracePeriodMs)
    .map(({ version }) => version);
}

/** The disabled versions to destroy: never the newest, never one that this run itself disables. */
export function versionsToDestroy(
  versions: readonly Version[],
  { destroyAfterMs }: Pick<RenewalPolicy, 'destroyAfterMs'>,
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

/** Of the keys that were minted for a secret, those that nobody can hold: old enough to be in a version, and in none. */
export function keysToRevoke(
  keys: readonly OwnKey[],
  held: ReadonlySet<string>,
  now: number,
): OwnKey[] {
  return keys.filter(({ keyId, issuedAt }) => now - issuedAt > ORPHAN_AGE && !held.has(keyId));
}

/**
 * Every version but the newest, with how long ago its successor was created. None while the newest is not enabled, because
 * then an older one is all that is left to readers; and none while no list has shown the newest, because then the numbers
 * may be those of two secrets of the same name, one deleted and one made anew.
 */
function superseded(
  versions: readonly Version[],
  now: number,
): { version: Version; forMs: number }[] {
  const ordered = byAge(versions);
  const newest = ordered.at(-1);
  if (newest?.state !== 'ENABLED' || newest.unlisted === true) return [];
  // The store's clock may be ahead of ours, but no moment is before the newest version's creation.
  const moment = Math.max(now, newest.createdAt);
  return ordered.slice(0, -1).map((version, index) => {
    const successor = ordered[index + 1] ?? newest;
    return { version, forMs: moment - successor.createdAt };
  });
}
