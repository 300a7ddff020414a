/** Reads the versions in Secret Manager's answers. An invalid entry doesn't affect other entries. */
import type { protos } from '@google-cloud/secret-manager';
import type { Version, VersionList } from '../rotation/ports';
import { parseSecretName, type SecretName } from '../secret-name';

export type ApiVersion = protos.google.cloud.secretmanager.v1.ISecretVersion;

/**
 * The versions of a list. An entry whose name isn't a version of this secret is skipped.
 *
 * Overlapping pages can list a version twice. If the two entries differ, the safer value counts. The earlier state is safer,
 * because the version is read and less is changed. The later time is safer, because it extends the grace period. With an
 * outdated etag, changes fail without harm.
 */
export function toVersionList(
  entries: readonly ApiVersion[],
  secret: SecretName,
  now: number,
): VersionList {
  const versions = new Map<number, Version>();
  let canonicalName: string | undefined;
  for (const entry of entries) {
    const version = parseVersion(entry, secret, NaN);
    if (version === undefined) continue;
    canonicalName ??= parseVersionName(entry.name, secret)?.canonicalName;
    const other = versions.get(version.number);
    versions.set(version.number, other === undefined ? version : safer(version, other));
  }
  const newestFirst = [...versions.values()].sort((a, b) => b.number - a.number);
  // A version without a creation time gets the time of the next newer version. The newest version gets the current time.
  let latest = now;
  const complete = newestFirst.map((version) => {
    latest = Number.isNaN(version.createdAt) ? latest : version.createdAt;
    return { ...version, createdAt: latest };
  });
  return { versions: complete.reverse(), canonicalName };
}

/**
 * A version; undefined if it has no number, or belongs to another secret.
 *
 * @param unknownTime the creation time of a version without one
 */
export function parseVersion(
  { name, state, createTime, etag, scheduledDestroyTime }: ApiVersion,
  secret: SecretName,
  unknownTime: number,
): Version | undefined {
  const number = parseVersionName(name, secret)?.number;
  if (number === undefined) return undefined;
  const knownState = STATES.find((known) => known === state);
  const createdAt = toMillis(createTime);
  return {
    number,
    state: knownState ?? 'ENABLED',
    createdAt: createdAt ?? unknownTime,
    etag: typeof etag === 'string' && etag !== '' ? etag : undefined,
    destroyScheduled: scheduledDestroyTime != null,
    incomplete: knownState === undefined || createdAt === undefined,
  };
}

/** The client returns the seconds, a 64-bit integer, as a string. */
function toMillis(time: ApiVersion['createTime']): number | undefined {
  const [seconds, nanos] = [time?.seconds, time?.nanos].map((part) =>
    typeof part === 'string' || typeof part === 'number' ? Number(part) : 0,
  );
  const ms = (seconds ?? 0) * 1000 + Math.floor((nanos ?? 0) / 1e6);
  return ms > 0 && ms <= MAX_TIME ? ms : undefined;
}

/** In the order of a version's life. */
const STATES = ['ENABLED', 'DISABLED', 'DESTROYED'] as const;

/** The latest time of a `Date`. */
const MAX_TIME = 8.64e15;

/**
 * A version's number, and its secret's name as Secret Manager writes it. Secret Manager names the project by number, even if
 * the request names it by id. Returns undefined for a version of another secret.
 */
export function parseVersionName(
  name: ApiVersion['name'],
  secret: SecretName,
): { readonly number: number; readonly canonicalName: string } | undefined {
  const [, canonicalName = '', digits = ''] =
    /^(.+)\/versions\/([1-9]\d{0,14})$/.exec(typeof name === 'string' ? name : '') ?? [];
  const answered = parseSecretName(canonicalName);
  return answered?.id === secret.id && answered.location === secret.location
    ? { number: Number(digits), canonicalName }
    : undefined;
}

function safer(one: Version, other: Version): Version {
  const isOneEarlier = STATES.indexOf(one.state) <= STATES.indexOf(other.state);
  return {
    ...(isOneEarlier ? one : other),
    createdAt: later(one.createdAt, other.createdAt),
    incomplete: one.incomplete === true || other.incomplete === true,
  };
}

/** The later of two times. NaN is an unknown time. */
function later(one: number, other: number): number {
  if (Number.isNaN(one)) return other;
  return Number.isNaN(other) ? one : Math.max(one, other);
}
