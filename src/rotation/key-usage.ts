/** Finds the keys that versions contain. A run revokes a key only if no version references it. */
import { mapConcurrently } from '../concurrency';
import { RotationError, toRotationError } from '../errors';
import type { SecretName } from '../secret-name';
import { RETRY_FOR, type Deadlines } from './deadlines';
import { credentialIn, exists, getVersion, parsePayload } from './inspect';
import { newestVersion } from './policy';
import type { Credential, Secret, Version } from './ports';
import type { Run } from './run';

/** How many versions of one secret are read at the same time. */
export const READS_AT_ONCE = 16;

/** If more versions are missing in a list, the list isn't complete. A complete list contains even destroyed versions. */
const MAX_UNLISTED = 1_000;

/**
 * Finds the keys among `keyIds` that no version contains.
 *
 * Lists lag: a version can be enabled although the list shows it as disabled, or doesn't show it at all. So this function
 * reads every version number from 1 to the newest, except versions that the list shows as destroyed. An operator can also
 * copy a payload into another secret, so the newest versions of the other configured secrets are read, too.
 *
 * The result is uncertain if a version newer than `versions` exists, or if an enabled version or another configured secret
 * can't be read. Each of them could contain any key.
 *
 * @param versions as they were listed
 * @param ignore versions that the run is about to disable; they aren't read
 */
export async function orphanedKeys(
  context: Run,
  keyIds: readonly string[],
  versions: readonly Version[],
  ignore: readonly Version[] = [],
): Promise<readonly string[] | { readonly uncertain: string }> {
  if (keyIds.length === 0) return [];
  const newest = newestVersion(versions)?.number ?? 0;
  const listed = new Map(versions.map((version) => [version.number, version]));
  const remaining = remainingNumbers(versions);
  if (remaining === undefined) {
    return { uncertain: `the list shows ${listed.size} of ${newest} versions` };
  }
  const ignored = new Set(ignore.map(({ number }) => number));
  const numbers = remaining.filter((number) => !ignored.has(number));
  const [readings, hasNewer, elsewhere] = await Promise.all([
    mapConcurrently(READS_AT_ONCE, numbers, async (number) => {
      const reading = await readVersion(context, number, listed.get(number));
      if (reading.kind === 'invalid') throw invalidVersion(context.secret, number, reading.error);
      return reading;
    }),
    exists(context, newest + 1),
    context.keyIdsInOtherSecrets().catch(toRotationError),
  ]);
  if (hasNewer) return { uncertain: `version ${newest + 1} was just added` };
  if (elsewhere instanceof RotationError) {
    return { uncertain: `another configured secret couldn't be read (${elsewhere.code})` };
  }
  const referenced = new Set<string | undefined>();
  for (const reading of readings) {
    if (reading.kind === 'unreadable') return { uncertain: reading.problem };
    if (reading.kind === 'key') referenced.add(reading.credential.keyId);
  }
  return keyIds.filter((keyId) => !referenced.has(keyId) && !elsewhere.has(keyId));
}

/**
 * The numbers from 1 to the newest, except those of destroyed versions. A list lags, so a version can exist that isn't listed.
 *
 * @returns undefined if so many versions aren't listed that the list must be incomplete
 */
export function remainingNumbers(versions: readonly Version[]): number[] | undefined {
  const newest = newestVersion(versions)?.number ?? 0;
  const listed = new Map(versions.map(({ number, state }) => [number, state]));
  if (newest - listed.size > MAX_UNLISTED) return undefined;
  return Array.from({ length: newest }, (_, index) => index + 1).filter(
    (number) => listed.get(number) !== 'DESTROYED',
  );
}

export interface NewestKey {
  readonly keyId: string;
  readonly secret: string;
  /** Shows whether two names mean one secret. */
  readonly canonicalName?: string | undefined;
}

/**
 * The keys with an id in the newest versions of secrets. Runs for other secrets must not revoke these keys. A secret without
 * a readable newest version is left out, because applications can't read its key either.
 *
 * @throws RotationError if a secret can't be read for now: it could contain any key
 */
export async function newestKeys(
  { store, keys, deadlines }: Pick<Run, 'store' | 'keys' | 'deadlines'>,
  secrets: readonly Secret[],
): Promise<NewestKey[]> {
  const access = (secret: Secret) =>
    deadlines
      .retry((limits) => store.access(secret, 'latest', limits), {
        latest: deadlines.in(RETRY_FOR),
      })
      .catch((thrown: unknown) => {
        if (toRotationError(thrown).retryable) throw thrown;
        return undefined;
      });
  const found = await mapConcurrently(READS_AT_ONCE, secrets, async (secret) => {
    const latest = await access(secret);
    const keyId = credentialIn(keys, latest)?.keyId;
    if (latest?.kind !== 'payload' || keyId === undefined) return [];
    return { keyId, secret: secret.name, canonicalName: latest.canonicalName };
  });
  return found.flat();
}

/** The result of reading a version. */
export type Reading = { readonly number: number } & (
  | { readonly kind: 'key'; readonly credential: Credential }
  | { readonly kind: 'disabled' | 'gone' }
  /** The version is enabled, and its key isn't known. `retryable`: a later attempt can read it. */
  | { readonly kind: 'unreadable'; readonly problem: string; readonly retryable: boolean }
  /** The payload isn't a credential. */
  | { readonly kind: 'invalid'; readonly error: RotationError }
);

/**
 * Reads a version by its number.
 *
 * @param listed the version as it was listed; undefined if no list shows it
 */
export async function readVersion(
  context: Run,
  number: number,
  listed: Version | undefined,
  retrying: Parameters<Deadlines['retry']>[1] = {},
): Promise<Reading> {
  const { secret, store, keys, deadlines } = context;
  const access = await deadlines.retry((limits) => store.access(secret, number, limits), retrying);
  const unreadable = (problem: string, retryable: boolean): Reading => ({
    kind: 'unreadable',
    number,
    problem: `version ${number} is ${problem}`,
    retryable,
  });
  if (access.kind === 'payload') {
    const credential = parsePayload(keys, access.payload);
    return credential instanceof RotationError
      ? { kind: 'invalid', number, error: credential }
      : { kind: 'key', number, credential };
  }
  if (access.kind === 'absent') {
    // The list and the access contradict each other, so one of them lags.
    return listed?.state === 'ENABLED'
      ? unreadable("listed as enabled and can't be found", true)
      : { kind: 'gone', number };
  }
  // If the list shows the version as disabled, the failed access confirms it. Otherwise get the version's state.
  if (listed?.state === 'DISABLED') return { kind: 'disabled', number };
  const actual = await getVersion(context, listed ?? { number, state: 'ENABLED', createdAt: 0 });
  if (actual?.state === 'ENABLED') {
    return unreadable(`enabled and can't be read (${access.reason})`, false);
  }
  return { kind: actual?.state === 'DISABLED' ? 'disabled' : 'gone', number };
}

function invalidVersion({ name }: SecretName, number: number, cause: RotationError): RotationError {
  return new RotationError(
    'KEYS_NOT_REVOKED',
    {
      problem: `Version ${number} of ${name} doesn't contain a credential that the rotator can read, so no key was revoked.`,
      action: `Disable version ${number} if no application needs it.`,
    },
    { cause },
  );
}
