/**
 * Cleans up superseded versions and keys: plan, then apply. Every run makes a plan, whatever else it does. A dry run
 * returns the plan, and any other run applies it.
 */
import { mapConcurrently } from '../concurrency';
import { SECOND } from '../duration';
import { RotationError, toRotationError } from '../errors';
import { QUOTA_RETRY_FOR } from './deadlines';
import type { Inspection } from './inspect';
import { orphanedKeys } from './key-usage';
import { ascending, orphanCandidates, planVersions, type VersionPlan } from './policy';
import { REVOKE_BATCH, type CallLimits, type Version } from './ports';
import type { Run, Step } from './run';

/** How many versions of one secret are disabled or destroyed at the same time. */
const CHANGES_AT_ONCE = 8;

/** A lookup of references that ended this recently isn't repeated before a revocation. */
const LOOKUP_FRESH_FOR = SECOND;

export interface Failure {
  readonly step: Step;
  readonly error: RotationError;
}

/** The state of the secret in which a cleanup begins. */
export interface CleanupInput {
  readonly inspection: Inspection;
  /** The versions that exist. */
  readonly versions: readonly Version[];
  /** The version that supersedes all others. In a dry run it might not exist yet. */
  readonly newest: Version;
  /** The id of the key in the newest version. */
  readonly keyId?: string | undefined;
  /** Whether it is certain which version is the newest. Otherwise no version is disabled or destroyed. */
  readonly isCertain: boolean;
  /** Why nothing can be cleaned up: the newest key isn't verified. */
  readonly blocked?: Failure | undefined;
}

interface CleanupPlan extends VersionPlan {
  readonly input: CleanupInput;
  /**
   * The keys that might be orphaned. This promise never rejects. Versions are changed without waiting for this promise, because
   * the issuer's list of keys can take two minutes.
   */
  readonly candidates: Promise<KeyPlan>;
}

/** Which keys to revoke. */
interface KeyPlan {
  readonly revoke: readonly string[];
  readonly failures: readonly Failure[];
  readonly warnings: readonly string[];
  /** How many keys that were minted for the secret are alive, if a management key can list them. */
  readonly liveKeys?: number | undefined;
}

/** The effects of a cleanup, or the planned effects in a dry run. */
export interface Cleanup extends VersionPlan, KeyPlan {}

const NO_VERSIONS: VersionPlan = { disable: [], destroy: [] };
const NO_KEYS: KeyPlan = { revoke: [], failures: [], warnings: [] };
export const NO_CLEANUP: Cleanup = { ...NO_VERSIONS, ...NO_KEYS };

/**
 * Plans a cleanup without changing anything. If the newest version was unreadable at the inspection, the plan is empty,
 * even if the run added a version.
 */
export function planCleanup(run: Run, input: CleanupInput): CleanupPlan {
  const { inspection, versions, newest, isCertain } = input;
  const due =
    isCertain && inspection.unreadable.size === 0
      ? planVersions(versions, newest, run.policy, inspection.missing, run.clock.now())
      : NO_VERSIONS;
  return { ...due, input, candidates: listCandidates(run, input) };
}

/** The plan as a dry run reports it. Its keys are orphaned once the versions in the plan are disabled. */
export async function describePlan(
  run: Run,
  { input, disable, destroy, candidates }: CleanupPlan,
): Promise<Cleanup> {
  const keys = await keepOrphans(run, await candidates, input.versions, disable);
  const plan: Cleanup = { disable, destroy, ...keys };
  return isBlocked(input, plan) ? blockedCleanup(input.blocked, plan) : plan;
}

/** Applies a plan: disables, destroys, revokes. Each recheck of a key happens after the changes of versions. */
export async function applyCleanup(run: Run, plan: CleanupPlan): Promise<Cleanup> {
  const { newest, versions } = plan.input;
  if (plan.input.blocked !== undefined) return describePlan(run, plan);
  const disabled = await changeVersions(run, 'disable', plan.disable, newest);
  const destroyed = await changeVersions(run, 'destroy', plan.destroy, newest);
  const candidates = await plan.candidates;
  const disabledNow = new Set(disabled.done.map(({ number }) => number));
  const remaining = versions.map((version): Version =>
    disabledNow.has(version.number) ? { ...version, state: 'DISABLED' } : version,
  );
  // Drop referenced candidates first, because every key in a batch takes a slot of the rate limiter.
  const keys = await keepOrphans(run, candidates, remaining);
  const revoked = await revokeOrphans(run, keys.revoke, remaining);
  return {
    disable: disabled.done,
    destroy: destroyed.done,
    revoke: revoked.revoke,
    failures: [...disabled.failures, ...destroyed.failures, ...keys.failures, ...revoked.failures],
    warnings: [...disabled.warnings, ...destroyed.warnings, ...keys.warnings, ...revoked.warnings],
    liveKeys: keys.liveKeys,
  };
}

function isBlocked(
  input: CleanupInput,
  { disable, destroy, revoke }: Cleanup,
): input is CleanupInput & { readonly blocked: Failure } {
  return input.blocked !== undefined && disable.length + destroy.length + revoke.length > 0;
}

function blockedCleanup(blocked: Failure, { failures, warnings, liveKeys }: Cleanup): Cleanup {
  return { ...NO_CLEANUP, failures: [blocked, ...failures], warnings, liveKeys };
}

/**
 * Lists the keys of the secret that might be orphaned. For minted keys the list is read even without `REVOKE`, because the log
 * contains the number of live keys.
 */
async function listCandidates(run: Run, { inspection, keyId }: CleanupInput): Promise<KeyPlan> {
  const { secret, session, unsaved, policy, clock, deadlines } = run;
  const { next, unreadable } = inspection;
  const isMinted = !(next instanceof RotationError) && next.by === 'mint';
  if (!policy.revoke && !isMinted) return NO_KEYS;
  try {
    const { keys, warnings } = await deadlines.retry((limits) => session.ownKeys(secret, limits), {
      quotaRetryFor: QUOTA_RETRY_FOR,
    });
    const listed: KeyPlan = {
      ...NO_KEYS,
      liveKeys: keys.length,
      warnings,
    };
    const referenced = [keyId, unsaved.get(secret)?.credential.keyId];
    if (!policy.revoke || unreadable.size > 0) return listed;
    return { ...listed, revoke: orphanCandidates(keys, referenced, clock.now()) };
  } catch (thrown) {
    if (!policy.revoke) return NO_KEYS;
    const failure: Failure = { step: 'revoke', error: notRevoked(toRotationError(thrown)) };
    // If the keys are refreshed, the rotation doesn't need the management key, so the failure is only a warning.
    return isMinted || failure.error.code === 'INTERNAL'
      ? { ...NO_KEYS, failures: [failure] }
      : { ...NO_KEYS, warnings: failuresAsWarnings([failure]) };
  }
}

/**
 * Keeps only those keys of a plan that no version references.
 *
 * @param ignore versions that count as disabled
 */
async function keepOrphans(
  run: Run,
  candidates: KeyPlan,
  versions: readonly Version[],
  ignore: readonly Version[] = [],
): Promise<KeyPlan> {
  if (candidates.revoke.length === 0) return candidates;
  const { orphans, failures, warnings } = await lookUp(run, candidates.revoke, versions, ignore);
  return {
    ...candidates,
    revoke: orphans,
    failures: [...candidates.failures, ...failures],
    warnings: [...candidates.warnings, ...warnings],
  };
}

interface LookUp {
  readonly orphans: readonly string[];
  /** Set if the lookup failed. Then there are no orphans. */
  readonly failures: readonly Failure[];
  /** Set if the lookup is uncertain. Then there are no orphans. */
  readonly warnings: readonly string[];
}

/** The keys that no version references. */
async function lookUp(
  run: Run,
  keyIds: readonly string[],
  versions: readonly Version[],
  ignore: readonly Version[] = [],
): Promise<LookUp> {
  try {
    const found = await orphanedKeys(run, keyIds, versions, ignore);
    return 'uncertain' in found
      ? {
          orphans: [],
          failures: [],
          warnings: [`no key was revoked in this run: ${found.uncertain}`],
        }
      : { orphans: found, failures: [], warnings: [] };
  } catch (thrown) {
    const error = notRevoked(toRotationError(thrown));
    return { orphans: [], failures: [{ step: 'revoke', error }], warnings: [] };
  }
}

/**
 * Revokes orphaned keys whose references were just looked up. Looks references up again before each later batch, and before
 * the first batch if the rate limiter delayed it. The next run revokes the remaining keys.
 */
async function revokeOrphans(
  run: Run,
  keyIds: readonly string[],
  versions: readonly Version[],
): Promise<KeyPlan> {
  if (keyIds.length === 0) return NO_KEYS;
  let last: LookUp = { orphans: [], failures: [], warnings: [] };
  let freshUntil = run.clock.monotonic() + LOOKUP_FRESH_FOR;
  const recheck = async (ids: readonly string[]) => {
    if (run.clock.monotonic() < freshUntil) {
      freshUntil = -Infinity;
      return ids;
    }
    last = await lookUp(run, ids, versions);
    return last.failures.length + last.warnings.length > 0 ? undefined : last.orphans;
  };
  const { revoked, errors } = await run.timings.measure('revoke', () =>
    revokeKeys(run, keyIds, recheck),
  );
  const failures = errors.map((error): Failure => ({ step: 'revoke', error: notRevoked(error) }));
  return { revoke: revoked, failures: [...last.failures, ...failures], warnings: last.warnings };
}

interface Revoked {
  readonly revoked: readonly string[];
  readonly errors: readonly RotationError[];
}

/**
 * Revokes keys in batches, until a batch fails for a reason that concerns all keys, or until the run's deadline.
 *
 * @param recheck called right before each batch: an operator can store an old payload again at any time. Returns those keys
 *   of the batch that can still be revoked, or undefined to end the revocation
 */
export async function revokeKeys(
  { session, clock, deadlines }: Pick<Run, 'session' | 'clock' | 'deadlines'>,
  keyIds: readonly string[],
  recheck: (keyIds: readonly string[]) => Promise<readonly string[] | undefined>,
): Promise<Revoked> {
  const revoked: string[] = [];
  const errors: RotationError[] = [];
  let remaining: readonly string[] = [];
  let isOver = false as boolean;
  const attempt = async (limits: CallLimits): Promise<void> => {
    const outcomes = await session.revoke(
      remaining,
      async (ids) => {
        const revocable = await recheck(ids);
        isOver = revocable === undefined;
        return revocable ?? [];
      },
      limits,
    );
    const failures = remaining.map((keyId) => outcomes.get(keyId));
    revoked.push(...remaining.filter((keyId) => outcomes.get(keyId) === true));
    remaining = remaining.filter((keyId) => outcomes.get(keyId) instanceof RotationError);
    const error = failures.find((outcome) => outcome instanceof RotationError);
    if (error !== undefined) throw error;
  };
  for (let start = 0; start < keyIds.length && !isOver; start += REVOKE_BATCH) {
    remaining = keyIds.slice(start, start + REVOKE_BATCH);
    try {
      await deadlines.retry(attempt, { quotaRetryFor: QUOTA_RETRY_FOR });
    } catch (thrown) {
      const error = toRotationError(thrown);
      errors.push(error);
      // An error that concerns one key doesn't stop the revocation of the others.
      isOver ||= error.retryable || error.refused;
    }
    isOver ||= clock.monotonic() > deadlines.end;
  }
  return { revoked, errors };
}

interface Changed {
  readonly done: readonly Version[];
  readonly failures: readonly Failure[];
  readonly warnings: readonly string[];
}

/**
 * Disables or destroys versions with bounded concurrency. After a failure that concerns the service and not one version,
 * no further change begins.
 */
export async function changeVersions(
  { timings, secret, store, deadlines }: Run,
  step: 'disable' | 'destroy',
  versions: readonly Version[],
  newest: Version,
): Promise<Changed> {
  if (versions.length === 0) return { done: [], failures: [], warnings: [] };
  const done: Version[] = [];
  const changedMeanwhile: Version[] = [];
  const errors: RotationError[] = [];
  const isDown = (): boolean =>
    errors.some(({ retryable, code }) => retryable || code === 'PERMISSION_MISSING');
  await timings.measure(step, () =>
    mapConcurrently(CHANGES_AT_ONCE, versions, async (version) => {
      if (isDown()) return;
      try {
        const isChanged = await deadlines.retry((limits) =>
          store[step](secret, version, newest, limits),
        );
        (isChanged ? done : changedMeanwhile).push(version);
      } catch (thrown) {
        errors.push(toRotationError(thrown));
      }
    }),
  );
  return {
    done: ascending(done),
    warnings: changedMeanwhile.map(
      ({ number }) =>
        `version ${number} changed during the run (another process changed it, or the answer to this run's change was lost); the next run checks it`,
    ),
    failures: errors.slice(0, 1).map((error) => ({ step, error })),
  };
}

/** Failures and their causes, as sentences. */
export function failuresAsWarnings(failures: readonly Failure[]): string[] {
  return failures.flatMap(({ step, error }) => [
    `${step}: ${error.code}: ${error.problem} ${error.action}`,
    ...causeAsWarning({ step, error }),
  ]);
}

/** The cause of a failure as a warning, if the cause is a RotationError, too. */
export function causeAsWarning({ step, error: { cause } }: Failure): string[] {
  return cause instanceof RotationError ? failuresAsWarnings([{ step, error: cause }]) : [];
}

function notRevoked(cause: RotationError): RotationError {
  // A refused management key also prevents the next mint, so its own error is more helpful.
  if (cause.code === 'KEYS_NOT_REVOKED' || cause.code === 'INTERNAL' || cause.refused) return cause;
  return new RotationError(
    'KEYS_NOT_REVOKED',
    {
      problem: `Orphaned keys couldn't be looked up or revoked (${cause.code}).`,
      action:
        'Wait for the next run, which continues the cleanup. If that run fails as well, correct the cause that the ' +
        'warnings name.',
    },
    { cause },
  );
}
