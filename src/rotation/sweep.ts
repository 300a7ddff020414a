/** Ends what is superseded: retires versions, destroys them, revokes keys. Every run does, whatever else it does. */
import { RotationError, toRotationError } from '../errors';
import { LOOK_FRESHNESS, STORE_PATIENCE } from './budget';
import { keysToRevoke, versionsToDestroy, versionsToRetire } from './cleanup';
import { unheldKeys } from './held';
import type { CurrentKey, Permission, Verdict, Version } from './ports';
import type { Run } from './run';
import type { Found } from './steps';
import { prove } from './verify';

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
  const common = { missing, isRefreshed: isRefreshed(next) };
  if (added !== undefined) {
    // If versions count from 1 again, the secret was made anew, and nothing that was found belongs to it.
    return added.version.number <= (newest?.number ?? 0)
      ? undefined
      : {
          versions: [...versions, added.version],
          newest: added,
          ...common,
          ...(verdict && { verdict }),
        };
  }
  if (current === undefined || current.version.number !== newest?.number) return undefined;
  return { versions, newest: current, ...common };
}

/** What a dry run has to know of it. */
export type Prospect = Pick<Standing, 'versions' | 'missing' | 'isRefreshed'>;

/** As it would stand after a rotation. */
export function standingAfter({ versions, newest, missing, next }: Found, now: number): Prospect {
  const number = (newest?.number ?? 0) + 1;
  const added = { number, state: 'ENABLED', createdAt: now } as const;
  return { versions: [...versions, added], missing, isRefreshed: isRefreshed(next) };
}

function isRefreshed(next: Found['next']): boolean {
  return !(next instanceof RotationError) && next.by === 'refresh';
}

/** Asks for the list of keys while the steps before a sweep wait for other answers: it is read once, and kept. */
export function prepareSweep({ secret, session, policy }: Run): void {
  // What fails now is asked for again.
  if (policy.revoke) session.ownKeys(secret).catch(() => undefined);
}

export async function sweep(run: Run, standing: Standing): Promise<void> {
  const { secret, store, budget } = run;
  const { retire, destroy } = dueVersions(run, standing);
  // What ends at the store does not wait for the issuer.
  const lookedUp = orNone(run, standing.isRefreshed, () => oldKeys(run, standing.newest));
  const isDue = retire.length + destroy.length > 0 || (await lookedUp).length > 0;
  if (isDue && (await isProved(run, standing))) {
    await each(run, 'retire', retire, (version) =>
      budget.patiently(() => store.disable(secret, version)),
    );
    await each(run, 'destroy', destroy, (version) =>
      budget.patiently(() => store.destroy(secret, version)),
    );
    const versions = inState('DISABLED', standing.versions, run.trail.outputs.retire);
    await revoke(run, await lookedUp, versions);
  }
  // What it found wrong belongs into the report, also where nothing could end.
  await lookedUp;
}

/** Revokes those of the keys that no version holds, at the moment at which each of them ends. */
async function revoke(
  run: Run,
  keyIds: readonly string[],
  versions: readonly Version[],
): Promise<void> {
  const { session, clock, budget } = run;
  const look = (ids: readonly string[]): Promise<string[]> =>
    orNone(run, false, async () => (await unheldKeys(run, ids, versions)) ?? []);
  const unheld = await look(keyIds);
  const lookedAt = clock.now();
  const isStillUnheld = async (keyId: string): Promise<boolean> =>
    clock.now() - lookedAt <= LOOK_FRESHNESS || (await look([keyId])).length > 0;
  await each(run, 'revoke', unheld, (keyId) =>
    budget.tryFor(STORE_PATIENCE, () => session.revoke(keyId, () => isStillUnheld(keyId))),
  );
}

/** What a sweep would end. What could not be looked up is a warning: nothing was to be done. */
export async function foresee(run: Run, prospect: Prospect): Promise<void> {
  const { retire, destroy } = dueVersions(run, prospect);
  // What is retired holds nothing, though it can still be read.
  const versions = inState('DESTROYED', prospect.versions, retire);
  const revoke = await orNone(
    run,
    true,
    async () => (await unheldKeys(run, await oldKeys(run), versions)) ?? [],
  );
  Object.assign(run.trail.outputs, { retire, destroy, revoke });
}

function dueVersions(
  { policy, clock }: Run,
  { versions, missing }: Pick<Standing, 'versions' | 'missing'>,
): { retire: Version[]; destroy: Version[] } {
  const now = clock.now();
  return {
    retire: missing.includes('disable') ? [] : versionsToRetire(versions, policy, now),
    destroy: missing.includes('destroy') ? [] : versionsToDestroy(versions, policy, now),
  };
}

/** The ids of keys that were minted for the secret, old enough to be revoked, and not known to be held. */
async function oldKeys(
  { secret, session, pending, policy, clock, budget }: Run,
  newest?: CurrentKey,
): Promise<string[]> {
  if (!policy.revoke) return [];
  const keys = await budget.tryFor(STORE_PATIENCE, () => session.ownKeys(secret));
  const held = [newest?.credential, pending.of(secret)?.credential].flatMap(
    (credential) => credential?.keyId ?? [],
  );
  return keysToRevoke(keys, new Set(held), clock.now()).map(({ keyId }) => keyId);
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
  { trail }: Run,
  step: 'retire' | 'destroy' | 'revoke',
  items: readonly T[],
  end: (item: T) => Promise<boolean>,
): Promise<void> {
  if (items.length === 0) return;
  await trail.step(step, async () => {
    const outcomes = await Promise.allSettled(items.map(end));
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
    const error = notRevoked(toRotationError(thrown));
    if (isOptional && error.code !== 'INTERNAL') trail.warn(`${error.code}: ${error.message}`);
    else trail.fail(error, 'incomplete', 'revoke');
    return [];
  }
}

function notRevoked(cause: RotationError): RotationError {
  if (cause.code === 'KEYS_NOT_REVOKED' || cause.code === 'INTERNAL') return cause;
  // Somebody has to act, and before the next rotation: who may not see the keys may not make one either.
  if (cause.refused) {
    return new RotationError(
      cause.code,
      `${cause.message} Readers keep the newest version; until then no key is made or revoked.`,
      { cause },
    );
  }
  return new RotationError(
    'KEYS_NOT_REVOKED',
    `Whether keys have to be revoked could not be looked up (${cause.code}: ${cause.message}) Readers are not affected. The ` +
      'next run looks again.',
    { cause },
  );
}
