/** Which keys the versions of a secret reference. */
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
 * The keys among `keyIds` that no version references, or why that isn't certain.
 *
 * A version that can be read is a reference, whatever a list shows: lists lag in states and by whole versions. So every
 * number up to the newest is tried that isn't known to be destroyed. The answer is uncertain if a newer version exists,
 * which can contain any key, or if an enabled version can't be read. A payload can be copied into another secret, so the
 * newest versions of the other configured secrets count as references, too.
 *
 * @param versions as they were listed; the versions in `ignore` count as destroyed
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
  if (newest - listed.size > MAX_UNLISTED) {
    return { uncertain: `the list shows ${listed.size} of ${newest} versions` };
  }
  const ignored = new Set(ignore.map(({ number }) => number));
  const numbers = Array.from({ length: newest }, (_, index) => index + 1).filter(
    (number) => listed.get(number)?.state !== 'DESTROYED' && !ignored.has(number),
  );
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

/** Whether a version of this number exists, in any state. Unlike a list, access by number doesn't lag. */
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

/** A version with a damaged payload exists. */
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
    // A version that is listed as disabled is disabled. Of any other the list says too little.
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
