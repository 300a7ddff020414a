/** Which keys do versions contain? Before a key is revoked, no version can reference it. */
import { mapConcurrently } from '../concurrency';
import { RotationError, toRotationError } from '../errors';
import type { Deadlines } from './deadlines';
import { getVersion, parse } from './inspect';
import { newestVersion } from './policy';
import type { Version } from './ports';
import type { Run } from './run';

/** How many versions of one secret are read at the same time. */
const CONCURRENCY = 16;

/** How many versions can be missing in a list. A complete list misses none, not even destroyed versions. */
const MAX_UNLISTED = 1_000;

type Context = Pick<Run, 'secret' | 'store' | 'keys' | 'deadlines' | 'keyIdsInOtherSecrets'>;

/**
 * Finds the keys among `keyIds` that no version contains.
 *
 * Lists lag: a version can be enabled although the list shows it as disabled, or doesn't show it at all. So this function
 * reads every version number from 1 to the newest, except versions that the list shows as destroyed. A person can also
 * copy a payload into another secret, so the newest versions of the other configured secrets are read, too.
 *
 * The result is uncertain in two cases: a version newer than `versions` exists, or an enabled version can't be read.
 * Both could contain any key.
 *
 * @param versions as they were listed
 * @param ignore versions that the run is about to disable; they aren't read
 */
export async function orphanedKeys(
  context: Context,
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
  const [references, hasNewer, elsewhere] = await Promise.all([
    mapConcurrently(CONCURRENCY, numbers, (number) =>
      referenceIn(context, number, listed.get(number)),
    ),
    exists(context, newest + 1),
    context.keyIdsInOtherSecrets(),
  ]);
  if (hasNewer) return { uncertain: `version ${newest + 1} was just added` };
  const unreadable = references.find((reference) => typeof reference === 'object');
  if (unreadable !== undefined) return unreadable;
  const referenced = new Set(references);
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

/** Whether a version with this number exists, in any state. Access by number doesn't lag, and a list does. */
export async function exists(
  { secret, store, deadlines }: Pick<Context, 'secret' | 'store' | 'deadlines'>,
  number: number,
  retrying: Parameters<Deadlines['retry']>[1] = {},
): Promise<boolean> {
  const access = await deadlines.retry(
    (limits) => store.access(secret, number, limits).catch(asCorrupt),
    retrying,
  );
  if (access === 'corrupt') return true;
  if (access.kind !== 'not_readable') return access.kind === 'payload';
  const found = await deadlines.retry((limits) => store.get(secret, number, limits), retrying);
  return found !== undefined;
}

/** A damaged payload shows that the version exists. */
function asCorrupt(thrown: unknown): 'corrupt' {
  if (toRotationError(thrown).code === 'PAYLOAD_CORRUPT') return 'corrupt';
  throw thrown;
}

/** The id of the key in a version; undefined if the version is gone, disabled, or contains a key without an id. */
async function referenceIn(
  context: Context,
  number: number,
  listed: Version | undefined,
): Promise<string | undefined | { readonly uncertain: string }> {
  const { secret, store, keys, deadlines } = context;
  const access = await deadlines.retry((limits) => store.access(secret, number, limits));
  if (access.kind === 'absent') {
    return listed?.state === 'ENABLED'
      ? { uncertain: `version ${number} is listed as enabled and can't be found` }
      : undefined;
  }
  if (access.kind === 'not_readable') {
    // If the list shows the version as disabled, the failed access confirms it. Otherwise get the version's state.
    if (listed?.state === 'DISABLED') return undefined;
    const assumed: Version = listed ?? { number, state: 'ENABLED', createdAt: 0 };
    const actual = await getVersion(context, assumed);
    return actual?.state === 'ENABLED'
      ? { uncertain: `version ${number} is enabled and can't be read (${access.reason})` }
      : undefined;
  }
  const credential = parse(keys, access.payload);
  if (!(credential instanceof RotationError)) return credential.keyId;
  throw new RotationError(
    'KEYS_NOT_REVOKED',
    {
      problem: `Version ${number} of ${secret.name} doesn't contain a credential that the rotator can read, so no key was revoked.`,
      action: `Disable version ${number} if no application needs it.`,
    },
    { cause: credential },
  );
}
