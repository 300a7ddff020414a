/**
 * Cleans up superseded versions and keys: plan, then apply. Every run does it, whatever else it does. A dry run returns
 * the plan.
 */
import { mapConcurrently } from '../concurrency';
import { RotationError, toRotationError } from '../errors';
import { QUOTA_RETRY_FOR } from './deadlines';
import type { Inspection } from './inspect';
import { orphanedKeys } from './key-usage';
import { orphanCandidates, planVersions, type VersionPlan } from './policy';
import { REVOKE_BATCH, type Version } from './ports';
import type { Run, Step } from './run';

/** How many versions of one secret are disabled or destroyed at the same time. */
const CONCURRENCY = 8;

/** What to clean up. */
export interface CleanupPlan extends VersionPlan {
  /** Ids of orphaned keys. */
  readonly revoke: readonly string[];
}

export interface Failure {
  readonly step: Step;
  readonly error: RotationError;
}

/** The result of a plan, or of its application. */
export interface Cleanup extends CleanupPlan {
  readonly failures: readonly Failure[];
  readonly warnings: readonly string[];
  /** How many keys that were minted for the secret are alive, if a management key can list them. */
  readonly liveKeys?: number | undefined;
}

export const NO_CLEANUP: Cleanup = {
  disable: [],
  destroy: [],
  revoke: [],
  failures: [],
  warnings: [],
};

/** The situation in which a cleanup begins. */
export interface CleanupInput {
  readonly inspection: Inspection;
  /** The versions, with the newest one among them. */
  readonly versions: readonly Version[];
  readonly newest: Version;
  /** The id of the key in the newest version. */
  readonly keyId?: string | undefined;
  /** Whether superseded versions can be cleaned up: only if it is certain which version is the newest. */
  readonly isCertain: boolean;
  /** Why nothing that is due can be cleaned up: the newest key isn't verified. */
  readonly blocked?: Failure | undefined;
}

/** Plans a cleanup without changing anything. A failure is a warning, because nothing had to be done. */
export async function planCleanup(run: Run, standing: CleanupInput): Promise<Cleanup> {
  const plan = versionPlan(run, standing);
  const listed = await listKeys(run, standing);
  // The version that a rotation would add doesn't exist.
  const { versions } = standing.inspection;
  const orphans = await findOrphans(run, { ...standing, versions }, listed, plan.disable);
  const { blocked } = standing;
  const { liveKeys } = listed;
  const warnings = [...orphans.warnings, ...failuresAsWarnings(orphans.failures)];
  const isDue = plan.disable.length + plan.destroy.length + orphans.keyIds.length > 0;
  return blocked !== undefined && isDue
    ? { ...NO_CLEANUP, warnings: [...warnings, ...failuresAsWarnings([blocked])], liveKeys }
    : { ...plan, revoke: orphans.keyIds, failures: [], warnings, liveKeys };
}

/** Applies the plan: disables, destroys, revokes. Versions don't wait for the issuer's list of keys. */
export async function applyCleanup(run: Run, standing: CleanupInput): Promise<Cleanup> {
  const { secret, store, deadlines } = run;
  const { newest, blocked } = standing;
  const plan = versionPlan(run, standing);
  const listing = listKeys(run, standing);
  if (blocked !== undefined && plan.disable.length + plan.destroy.length > 0) {
    const { liveKeys, failures, warnings } = await listing;
    return { ...NO_CLEANUP, failures: [blocked, ...failures], warnings, liveKeys };
  }
  const disabled = await changeVersions(run, 'disable', plan.disable, (version) =>
    deadlines.retry((limits) => store.disable(secret, version, newest, limits)),
  );
  const destroyed = await changeVersions(run, 'destroy', plan.destroy, (version) =>
    deadlines.retry((limits) => store.destroy(secret, version, newest, limits)),
  );
  const listed = await listing;
  const revoked = await revokeOrphans(run, standing, listed, disabled.done);
  return {
    disable: disabled.done,
    destroy: destroyed.done,
    revoke: revoked.keyIds,
    failures: [...disabled.failures, ...destroyed.failures, ...revoked.failures],
    warnings: [...disabled.warnings, ...destroyed.warnings, ...revoked.warnings],
    liveKeys: listed.liveKeys,
  };
}

/** In a run that met an unreadable newest version nothing is cleaned up, even if the run added a new version. */
function versionPlan(
  { policy, clock }: Run,
  { versions, newest, isCertain, inspection }: CleanupInput,
): VersionPlan {
  return isCertain && inspection.unreadable.size === 0
    ? planVersions(versions, newest, policy, inspection.missing, clock.now())
    : { disable: [], destroy: [] };
}

interface Orphans {
  readonly keyIds: readonly string[];
  readonly failures: readonly Failure[];
  readonly warnings: readonly string[];
}

interface Listed extends Orphans {
  /** Whether the keys could be listed. */
  readonly liveKeys?: number | undefined;
}

/**
 * The keys of the secret that are old enough to be orphaned. The list is read for minted secrets without `REVOKE`, too: the
 * number of live keys shows in the log.
 */
async function listKeys(run: Run, { keyId, inspection }: CleanupInput): Promise<Listed> {
  const { secret, session, unsaved, policy, clock, deadlines } = run;
  const { next } = inspection;
  const isMinted = !(next instanceof RotationError) && next.by === 'mint';
  if (!policy.revoke && !isMinted) return { keyIds: [], failures: [], warnings: [] };
  try {
    const { keys, skipped } = await deadlines.retry((limits) => session.ownKeys(secret, limits), {
      quotaRetryFor: QUOTA_RETRY_FOR,
    });
    const referenced = [keyId, unsaved.get(secret)?.credential.keyId];
    return {
      keyIds: policy.revoke ? orphanCandidates(keys, referenced, clock.now()) : [],
      liveKeys: keys.length,
      failures: [],
      warnings:
        skipped === 0
          ? []
          : [`${skipped} entries of the account's list of keys couldn't be read, and were skipped`],
    };
  } catch (thrown) {
    if (!policy.revoke) return { keyIds: [], failures: [], warnings: [] };
    const failure: Failure = { step: 'revoke', error: notRevoked(toRotationError(thrown)) };
    // A refreshed secret does without the management key.
    const isFailure = isMinted || failure.error.code === 'INTERNAL';
    return {
      keyIds: [],
      failures: isFailure ? [failure] : [],
      warnings: isFailure ? [] : failuresAsWarnings([failure]),
    };
  }
}

/** The keys among the listed ones that no version references. */
async function findOrphans(
  run: Run,
  { versions, inspection }: CleanupInput,
  listed: Listed,
  ignore: readonly Version[],
): Promise<Orphans> {
  const none = { keyIds: [], failures: listed.failures, warnings: listed.warnings };
  if (listed.keyIds.length === 0 || inspection.unreadable.size > 0) return none;
  try {
    const orphans = await orphanedKeys(run, listed.keyIds, versions, ignore);
    if (!('uncertain' in orphans)) return { ...none, keyIds: orphans };
    return {
      ...none,
      warnings: [...none.warnings, `no key was revoked in this run: ${orphans.uncertain}`],
    };
  } catch (thrown) {
    const error = notRevoked(toRotationError(thrown));
    return { ...none, failures: [...none.failures, { step: 'revoke', error }] };
  }
}

/**
 * Revokes orphaned keys in batches. References are looked up again when the turn of a batch has come: somebody can store an
 * old payload again at any time. A run stops when its time is over, and the next run continues.
 */
async function revokeOrphans(
  run: Run,
  standing: CleanupInput,
  listed: Listed,
  disabled: readonly Version[],
): Promise<Orphans> {
  const { deadlines, timings, clock } = run;
  const numbers = new Set(disabled.map(({ number }) => number));
  const now: CleanupInput = {
    ...standing,
    versions: standing.versions.map((version) =>
      numbers.has(version.number) ? { ...version, state: 'DISABLED' } : version,
    ),
  };
  const found = await findOrphans(run, now, listed, []);
  if (found.keyIds.length === 0) return found;
  if (standing.blocked !== undefined) {
    return { ...found, keyIds: [], failures: [...found.failures, standing.blocked] };
  }
  const revoked: string[] = [];
  const failures = [...found.failures];
  const warnings = [...found.warnings];
  const recheck = async (keyIds: readonly string[]): Promise<readonly string[]> => {
    const orphans = await findOrphans(run, now, { keyIds, failures: [], warnings: [] }, []);
    failures.push(...orphans.failures);
    warnings.push(...orphans.warnings);
    return orphans.keyIds;
  };
  await timings.measure('revoke', async () => {
    for (let start = 0; start < found.keyIds.length; start += REVOKE_BATCH) {
      const batch = found.keyIds.slice(start, start + REVOKE_BATCH);
      const before = failures.length + warnings.length;
      const error = await revokeBatch(run, batch, recheck, revoked);
      const isUncertain = failures.length + warnings.length > before;
      if (error !== undefined) failures.push({ step: 'revoke', error: notRevoked(error) });
      // An error that concerns one key must not hold up the other keys in every run.
      const isDown = error !== undefined && (error.retryable || error.refused);
      if (isUncertain || isDown || clock.monotonic() > deadlines.end) break;
    }
  });
  return { keyIds: revoked, failures, warnings };
}

/** Revokes a batch, as often as its failures are transient. Returns the error that remains. */
async function revokeBatch(
  { session, deadlines }: Run,
  batch: readonly string[],
  recheck: (keyIds: readonly string[]) => Promise<readonly string[]>,
  revoked: string[],
): Promise<RotationError | undefined> {
  let remaining = batch;
  try {
    await deadlines.retry(
      async (limits) => {
        const outcomes = await session.revoke(remaining, recheck, limits);
        const errors: RotationError[] = [];
        for (const [keyId, outcome] of outcomes) {
          if (outcome === true) revoked.push(keyId);
          else errors.push(outcome);
        }
        remaining = remaining.filter((keyId) => outcomes.get(keyId) instanceof RotationError);
        const [first] = errors;
        if (first !== undefined) throw first;
      },
      { quotaRetryFor: QUOTA_RETRY_FOR },
    );
    return undefined;
  } catch (thrown) {
    return toRotationError(thrown);
  }
}

interface Changed {
  readonly done: readonly Version[];
  readonly failures: readonly Failure[];
  readonly warnings: readonly string[];
}

/**
 * Changes versions with bounded concurrency. After a failure that concerns the service and not one version, no further
 * change begins.
 */
async function changeVersions(
  { timings }: Run,
  step: 'disable' | 'destroy',
  versions: readonly Version[],
  change: (version: Version) => Promise<boolean>,
): Promise<Changed> {
  if (versions.length === 0) return { done: [], failures: [], warnings: [] };
  const done: Version[] = [];
  const warnings: string[] = [];
  const errors: RotationError[] = [];
  const isDown = (): boolean =>
    errors.some(({ retryable, code }) => retryable || code === 'PERMISSION_MISSING');
  await timings.measure(step, () =>
    mapConcurrently(CONCURRENCY, versions, async (version) => {
      if (isDown()) return;
      try {
        if (await change(version)) done.push(version);
        else {
          warnings.push(
            `version ${version.number} changed during the run (by somebody, or by an attempt whose answer was lost); the next run looks again`,
          );
        }
      } catch (thrown) {
        errors.push(toRotationError(thrown));
      }
    }),
  );
  done.sort((a, b) => a.number - b.number);
  return { done, warnings, failures: errors.slice(0, 1).map((error) => ({ step, error })) };
}

/** Failures and their causes, as sentences. */
export function failuresAsWarnings(failures: readonly Failure[]): string[] {
  return failures.flatMap(({ step, error }) => [
    `${step}: ${error.code}: ${error.problem} ${error.action}`,
    ...causeAsWarning({ step, error }),
  ]);
}

/** The cause of a failure, if it is an error of its own. */
export function causeAsWarning({ step, error: { cause } }: Failure): string[] {
  return cause instanceof RotationError ? failuresAsWarnings([{ step, error: cause }]) : [];
}

function notRevoked(cause: RotationError): RotationError {
  // A management key that is refused stops the next mint, too, so its own error says more.
  if (cause.code === 'KEYS_NOT_REVOKED' || cause.code === 'INTERNAL' || cause.refused) return cause;
  return new RotationError(
    'KEYS_NOT_REVOKED',
    {
      problem: `Orphaned keys couldn't be looked up or revoked (${cause.code}).`,
      action:
        'Wait for the next run, which continues. If it fails as well, correct the cause, which the warnings name.',
    },
    { cause },
  );
}
