/** Which keys no version holds any more. */
import { mapConcurrently } from '../concurrency';
import { RotationError } from '../errors';
import type { Version } from './ports';
import type { Run } from './run';
import { newestVersion } from './versions';

/** How many versions are read at a time. */
const CONCURRENCY = 16;

type Looking = Pick<Run, 'secret' | 'store' | 'keys' | 'budget'>;

/**
 * Of keys, by their ids, those that no version holds. A list may lag, in its states and by whole versions, so every number
 * that may be that of an enabled version is tried: what can be read is. Undefined where what is held is not certain: a
 * version was added since the secret was looked at, and may hold any key; or one that is listed as enabled cannot be read.
 */
export async function unheldKeys(
  run: Looking,
  keyIds: readonly string[],
  versions: readonly Version[],
): Promise<string[] | undefined> {
  if (keyIds.length === 0) return [];
  const { secret, store, budget } = run;
  const last = newestVersion(versions)?.number ?? 0;
  const states = new Map(versions.map(({ number, state }) => [number, state]));
  const readable = Array.from({ length: last }, (_, index) => index + 1).filter(
    (number) => states.get(number) !== 'DESTROYED',
  );
  const [held, isSuperseded] = await Promise.all([
    mapConcurrently(CONCURRENCY, readable, (number) => heldKey(run, number)),
    budget.patiently(() => store.exists(secret, last + 1)),
  ]);
  // The key of the newest is known.
  const isUncertain = readable.some(
    (number, index) =>
      number < last && held[index] === 'not enabled' && states.get(number) === 'ENABLED',
  );
  if (isSuperseded || isUncertain) return undefined;
  const ids = held.map((key) => (typeof key === 'object' ? key.id : undefined));
  return keyIds.filter((keyId) => !ids.includes(keyId));
}

/** The key in a version. */
async function heldKey(
  { secret, store, keys, budget }: Looking,
  version: number,
): Promise<{ id: string | undefined } | 'not enabled'> {
  const accessed = await budget.patiently(() => store.access(secret, version));
  if (accessed === undefined) return 'not enabled';
  try {
    return { id: keys.parse(accessed.payload).keyId };
  } catch (cause) {
    throw new RotationError(
      'KEYS_NOT_REVOKED',
      `Which key version ${version} of ${secret.name} holds cannot be told, so no key was revoked. Readers of latest are not ` +
        'affected. If nobody needs that version, disable it: it holds no credential.',
      { cause },
    );
  }
}
