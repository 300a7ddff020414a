/** Ends what is superseded: retires versions, destroys them, revokes keys. Every run does, whatever else it does. */
import { mapConcurrently } from '../concurrency';
import { RotationError, toRotationError } from '../errors';
import { keysToRevoke, versionsToDestroy, versionsToRetire } from './cleanup';
import type { Found } from './gather';
import type { CurrentKey, OwnKey, Permission, Verdict, Version } from './ports';
import type { Run } from './run';
import { prove } from './verify';
import { newestVersion } from './versions';

/** How many versions are read at a time. */
const CONCURRENCY = 16;

/** How things stand when a sweep begins. */
export interface Standing {
  readonly versions: readonly Version[];
  /** The newest version, which readers of `latest` get. */
  readonly newest: CurrentKey;
  /** What this run knows of its key already. */
  readonly verdict?: Verdict;
  readonly missing: readonly Permission[];
  /** Whether this secret can do without keys that are minted: then a management key that fails is not its failure. */
  readonly isRefreshed: boolean;
}

/** As the secret was found, or with a version that was added since. Nothing may end while the newest cannot be read. */
export function standing(
  { versions, newest, current, missing, next }: Found,
  added?: CurrentKey,
  verdict?: Verdict,
): Standing | undefined {
  const isRefreshed = !(next instanceof RotationError) && next.by === 'refresh';
  if (added !== undefined) {
    // If versions count from 1 again, the secret was made anew, and nothing that was found belongs to it.
    return added.version.number <= (newest?.number ?? 0)
      ? undefined
      : {
          versions: [...versions, added.version],
          newest: added,
          missing,
          isRefreshed,
          ...(verdict && { verdict }),
        };
  }
  if (current === undefined || current.version.number !== newest?.number) return undefined;
  return { versions, newest: current, missing, isRefreshed };
}

/** As it would stand after a rotation. */
export function standingAfter(found: Found, now: number): Standing | undefined {
  const number = (found.newest?.number ?? 0) + 1;
  const version = { number, state: 'ENABLED', createdAt: now } as const;
  return found.current && standing(found, { ...found.current, version });
}

/** Asks for the list of keys while the steps before a sweep wait for other answers: it is read once, and kept. */
export function prepareSweep({ secret, session, policy }: Run): void {
  // What fails now is asked for again.
  if (policy.revoke) session.ownKeys(secret).catch(() => undefined);
}

export async function sweep(run: Run, standing: Standing): Promise<void> {
  const { secret, store, session } = run;
  const { retire, destroy } = dueVersions(run, standing);
  const old = await orNone(run, standing.isRefreshed, () => oldKeys(run, standing.newest));
  if (retire.length + destroy.length + old.length === 0) return;
  if (!(await isProved(run, standing))) return;

  await each(run, 'retire', retire, (version) => store.disable(secret, version));
  await each(run, 'destroy', destroy, (version) => store.destroy(secret, version));
  const versions = inState('DISABLED', standing.versions, run.trail.outputs.retire);
  const unheld = await orNone(run, false, () => unheldKeys(run, old, versions));
  await each(run, 'revoke', unheld, (keyId) => session.revoke(keyId).then(() => true));
}

/** What a sweep would end. */
export async function foresee(run: Run, standing: Standing): Promise<void> {
  const { retire, destroy } = dueVersions(run, standing);
  // What is retired holds nothing, though it can still be read.
  const versions = inState('DESTROYED', standing.versions, retire);
  const revoke = await orNone(run, false, async () =>
    unheldKeys(run, await oldKeys(run), versions),
  );
  Object.assign(run.trail.outputs, { retire, destroy, revoke });
}

function dueVersions(
  { policy, clock }: Run,
  { versions, missing }: Standing,
): { retire: Version[]; destroy: Version[] } {
  const now = clock.now();
  return {
    retire: missing.includes('disable') ? [] : versionsToRetire(versions, policy, now),
    destroy: missing.includes('destroy') ? [] : versionsToDestroy(versions, policy, now),
  };
}

/** Keys that were minted for the secret, old enough to be revoked, and not known to be held. */
async function oldKeys(
  { secret, session, pending, policy, clock, budget }: Run,
  newest?: CurrentKey,
): Promise<OwnKey[]> {
  if (!policy.revoke) return [];
  const keys = await budget.patiently(() => session.ownKeys(secret));
  const held = [newest?.credential, pending.of(secret)?.credential].flatMap(
    (credential) => credential?.keyId ?? [],
  );
  return keysToRevoke(keys, new Set(held), clock.now());
}

/** The versions, with some of them in another state. */
function inState(
  state: Version['state'],
  versions: readonly Version[],
  changed: readonly Version[] = [],
): Version[] {
  const numbers = changed.map(({ number }) => number);
  return versions.map((version) =>
    numbers.includes(version.number) ? { ...version, state } : version,
  );
}

/**
 * Of `keys`, the ids of those that no version holds. A list may lag, in its states and by whole versions, so every number
 * that may be that of an enabled version is tried: what can be read is. None where what is held is not certain: a version
 * was added since the secret was looked at, and may hold any key; or one that is listed as enabled cannot be read.
 */
export async function unheldKeys(
  run: Pick<Run, 'secret' | 'store' | 'keys' | 'budget'>,
  keys: readonly OwnKey[],
  versions: readonly Version[],
): Promise<string[]> {
  if (keys.length === 0) return [];
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
  if (isSuperseded || isUncertain) return [];
  const ids = held.map((key) => (typeof key === 'object' ? key.id : undefined));
  return keys.map(({ keyId }) => keyId).filter((keyId) => !ids.includes(keyId));
}

/** The key in a version. */
async function heldKey(
  { secret, store, keys, budget }: Pick<Run, 'secret' | 'store' | 'keys' | 'budget'>,
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

/** Whether the newest key works, so that what is older may end. */
async function isProved(run: Run, { newest, verdict: known }: Standing): Promise<boolean> {
  const { keys, policy, trail } = run;
  const { version, credential } = newest;
  const verdict =
    known ?? (await trail.step('verify', () => prove(run, credential, version.createdAt)));
  if (verdict === 'accepted' || !policy.verify) return true;
  if (verdict === 'rejected') {
    const error = new RotationError(
      'NEWEST_KEY_REJECTED',
      `${keys.vendor} rejects the key of version ${version.number}, which readers of latest get. Older versions were left as ` +
        'they are. Add a good credential as a new version: the payload of an older version that still works, or ' +
        `${keys.remedy}.`,
    );
    trail.fail(error, 'failed', 'verify');
  } else {
    const error = new RotationError(
      'VERIFY_INCONCLUSIVE',
      `${keys.vendor} gave no clear answer about the newest key, so nothing older was ended. Readers get the newest ` +
        `version. The next run asks again and goes on; if this persists, see whether ${keys.vendor} is up.`,
    );
    trail.fail(error, 'incomplete', 'verify');
  }
  return false;
}

/** Ends each of the items, all at once, as far as it can be. */
async function each<T extends Version | string>(
  { budget, trail }: Run,
  step: 'retire' | 'destroy' | 'revoke',
  items: readonly T[],
  end: (item: T) => Promise<boolean>,
): Promise<void> {
  if (items.length === 0) return;
  await trail.step(step, async () => {
    const outcomes = await Promise.allSettled(
      items.map((item) => budget.patiently(() => end(item))),
    );
    const failure = outcomes.find((outcome) => outcome.status === 'rejected');
    if (failure !== undefined) trail.fail(failure.reason, 'incomplete', step);
    const ended = items.filter((item, index) => {
      const outcome = outcomes[index];
      if (outcome?.status !== 'fulfilled') return false;
      if (!outcome.value && typeof item !== 'string') {
        trail.warn(
          `version ${item.number} changed during the run (by somebody, or by a try whose answer was lost); the next run looks again`,
        );
      }
      return outcome.value;
    });
    return ended as never;
  });
}

/** What cannot be looked up is left to the next run. */
async function orNone<T>(
  { trail }: Run,
  isOptional: boolean,
  lookUp: () => Promise<T[]>,
): Promise<T[]> {
  try {
    return await lookUp();
  } catch (thrown) {
    const cause = toRotationError(thrown);
    const error =
      cause.code === 'KEYS_NOT_REVOKED' || cause.code === 'INTERNAL'
        ? cause
        : new RotationError(
            'KEYS_NOT_REVOKED',
            `Whether keys have to be revoked could not be looked up (${cause.code}: ${cause.message}) Versions were retired as ` +
              'usual, and readers are not affected. The next run looks again.',
            { cause },
          );
    if (isOptional && error.code === 'KEYS_NOT_REVOKED')
      trail.warn(`${error.code}: ${error.message}`);
    else trail.fail(error, 'incomplete', 'revoke');
    return [];
  }
}
