/**
 * The rotation of one secret.
 *
 *   inspect ──> decide ──> issue ──> verify ──> add ──> disable ──> destroy ──> revoke
 *      │           │         │         │         │         │
 *      │           │         │         │         │         └ failed: incomplete, the next run cleans up
 *      │           │         │         │         └ failed: a refreshed credential stays in memory, the next run adds it
 *      │           │         │         ├ a newer version exists: superseded
 *      │           │         │         ├ rejected: failed, the old key stays the newest
 *      │           │         │         └ inconclusive: the key is added, because it must not be lost; nothing is cleaned up
 *      │           │         └ failed: the old key stays the newest
 *      │           └ not due, or blocked: the newest key is verified, then the cleanup follows
 *      └ failed: nothing was changed
 *
 * Adding a version promotes it: `latest` names the version that was added last, whatever its state. So applications get the
 * old key until the new one is stored. If a run ends at any point, the next run continues.
 */
import { RotationError, toRotationError } from '../errors';
import {
  applyCleanup,
  describePlan,
  NO_CLEANUP,
  planCleanup,
  type Cleanup,
  type CleanupInput,
  type Failure,
} from './cleanup';
import { Deadlines, RETRY_FOR, TIME_FOR_LAST_CALLS } from './deadlines';
import { getVersion, inspect, type Inspection } from './inspect';
import {
  ascending,
  decide,
  permissionsFor,
  replaceRejected,
  visibleBlocker,
  type Decision,
} from './policy';
import type { CurrentKey, KeyCheck, Version } from './ports';
import { isRecreated, renew, tooLateToIssue, type Renewal, type Renewed } from './renew';
import { toResult, type RunRecord, type RunResult } from './result';
import type { Run } from './run';
import type { IssuedCredential } from './unsaved';
import { verifyNewest, verifyOrInconclusive } from './verify';

/** Runs the rotation. Never throws: every failure is a result. */
export async function rotate(run: Run): Promise<RunResult> {
  try {
    return resultOf(run, await runSteps(run));
  } catch (thrown) {
    return resultOf(run, failedRun({ step: 'inspect', error: toRotationError(thrown) }));
  }
}

/** The record of a run that failed before a decision. */
export function failedRun(failure: Failure): RunRecord {
  return { ...NOTHING_DONE, failure };
}

export function resultOf(run: Run, record: RunRecord): RunResult {
  const { clock, timings } = run;
  return toResult(run, record, clock.now(), { durationMs: timings.totalMs, steps: timings.steps });
}

const NOT_ATTEMPTED: Renewed = { renewal: { kind: 'not_attempted' }, warnings: [], revoked: [] };

export const NOTHING_DONE: RunRecord = {
  renewed: NOT_ATTEMPTED,
  cleanup: NO_CLEANUP,
  warnings: [],
};

async function runSteps(run: Run): Promise<RunRecord> {
  const { policy, deadlines, timings } = run;
  if (!deadlines.canIssue) throw tooLateToIssue();
  const before = await timings.measure('inspect', () => inspect(run, permissionsFor(policy)));
  const earlierName = await run.earlierNameOf(before.canonicalName);
  if (earlierName !== undefined) return { ...NOTHING_DONE, inspection: before, earlierName };
  const unsaved = await reviewUnsaved(run, before);
  const { decision, check: checkBefore } = await decideAndVerify(run, before, unsaved.isNeeded);
  const renewed = decision.action === 'rotate' ? await renewOrPlan(run, before) : NOT_ATTEMPTED;
  const { inspection = before } = renewed;
  // If the renewal returned its own inspection, the first check concerned the key of an older version.
  const known = inspection === before ? checkBefore : undefined;
  const check = await checkAfter(run, inspection, renewed.renewal, known);
  const cleanup = await cleanUp(run, cleanupInput(run, inspection, renewed.renewal, check));
  const warnings = [...inspection.warnings, ...unsaved.warnings];
  return { inspection, decision, renewed, check, cleanup, warnings };
}

/** Renews the key. A dry run only names the version that would be added. */
async function renewOrPlan(run: Run, inspection: Inspection): Promise<Renewed> {
  if (!run.options.dryRun) return renew(run, inspection);
  const number = (inspection.newest?.number ?? 0) + 1;
  const version: Version = { number, state: 'ENABLED', createdAt: run.clock.now() };
  return { renewal: { kind: 'planned', version }, warnings: [], revoked: [] };
}

/**
 * Which key do applications get now, if that is certain? This is the safety argument of the project. Versions are disabled
 * and destroyed only if this function returns a key and the run has verified it.
 *
 * The returned key is in the newest version. The function returns undefined if another process added a version, if an add
 * might have succeeded, or if the secret was recreated.
 */
export function keyInUse(
  { newest, current }: Inspection,
  renewal: Renewal,
): CurrentKey | undefined {
  switch (renewal.kind) {
    case 'rotated':
      return isRecreated(newest, renewal.version)
        ? undefined
        : { version: renewal.version, credential: renewal.issued.credential };
    case 'not_attempted':
    case 'not_renewed':
      return current?.version.number === newest?.number ? current : undefined;
    case 'planned':
    case 'superseded':
    case 'not_stored':
      return undefined;
  }
}

/**
 * After a failed add, the key that applications had at the inspection and might still get. Then the cleanup disables no
 * version. Orphaned keys are still revoked, because the cleanup looks references up by version number.
 */
function keyBeforeAdd({ newest, current }: Inspection, { kind }: Renewal): CurrentKey | undefined {
  return kind === 'not_stored' && current?.version.number === newest?.number ? current : undefined;
}

/** The issuer's answer about the key that applications get after the renewal. */
async function checkAfter(
  run: Run,
  inspection: Inspection,
  renewal: Renewal,
  checkBefore: KeyCheck | undefined,
): Promise<KeyCheck | undefined> {
  switch (renewal.kind) {
    case 'rotated':
      return renewal.check;
    // The version that another process added contains another key.
    case 'superseded':
      return undefined;
    case 'planned':
      return checkBefore;
    case 'not_attempted':
    case 'not_renewed':
    case 'not_stored': {
      const key = keyInUse(inspection, renewal) ?? keyBeforeAdd(inspection, renewal);
      if (checkBefore !== undefined || key === undefined) return checkBefore;
      return run.timings.measure('verify', () => verifyNewest(run, key));
    }
  }
}

/** @returns undefined if nothing can be cleaned up */
function cleanupInput(
  run: Run,
  inspection: Inspection,
  renewal: Renewal,
  check: KeyCheck | undefined,
): CleanupInput | undefined {
  const { versions } = inspection;
  // A real run would verify the new key before it cleans up.
  if (renewal.kind === 'planned') {
    return { inspection, versions, newest: renewal.version, isCertain: true };
  }
  const certain = keyInUse(inspection, renewal);
  const key = certain ?? keyBeforeAdd(inspection, renewal);
  if (key === undefined) return undefined;
  const { number } = key.version;
  return {
    inspection,
    versions: ascending([...versions.filter((each) => each.number !== number), key.version]),
    newest: key.version,
    keyId: key.credential.keyId,
    isCertain: certain !== undefined,
    blocked: notVerified(run, key.version, check),
  };
}

async function cleanUp(run: Run, input: CleanupInput | undefined): Promise<Cleanup> {
  if (input === undefined) return NO_CLEANUP;
  if (run.options.dryRun) return describePlan(run, planCleanup(run, input));
  try {
    const limited = { ...run, deadlines: run.deadlines.before(TIME_FOR_LAST_CALLS) };
    return await applyCleanup(limited, planCleanup(limited, input));
  } catch (thrown) {
    // The renewal is already done, so its result must not be lost.
    const failure: Failure = { step: 'disable', error: toRotationError(thrown) };
    return { ...NO_CLEANUP, failures: [failure] };
  }
}

interface VerifiedDecision {
  readonly decision: Decision;
  readonly check?: KeyCheck | undefined;
}

/** Decides, and verifies the newest key if the run doesn't rotate anyway. A rejected key is replaced, or blocks the run. */
async function decideAndVerify(
  run: Run,
  inspection: Inspection,
  hasUnsaved: boolean,
): Promise<VerifiedDecision> {
  const { options, policy, clock, timings, keys } = run;
  const { current, newest } = inspection;
  const decided = decide({ ...options, inspection, hasUnsaved, now: clock.now() }, policy);
  // A real run tries to refresh an expired key once. A run that stores an unsaved credential needs no next key.
  const blocker =
    options.dryRun && decided.action === 'rotate' && !hasUnsaved
      ? visibleBlocker(inspection, keys.issuer, keys.newCredential, clock.now())
      : undefined;
  const decision: Decision = blocker ? { action: 'block', error: blocker } : decided;
  const isNewest = current?.version.number === newest?.number;
  if (decision.action === 'rotate' || current === undefined || !isNewest) return { decision };
  const check = await timings.measure('verify', () => verifyNewest(run, current));
  if (check?.verdict !== 'rejected' || decision.action === 'block') return { decision, check };
  return { decision: await decideAboutRejected(run, inspection, current, check), check };
}

async function decideAboutRejected(
  run: Run,
  inspection: Inspection,
  { credential, version }: CurrentKey,
  check: KeyCheck & { readonly verdict: 'rejected' },
): Promise<Decision> {
  const { session, clock, deadlines, keys } = run;
  const listed = check.byIssuer
    ? 'unknown'
    : await session
        .listedState(credential, { deadline: deadlines.end })
        .catch(() => 'unknown' as const);
  const decided = replaceRejected(inspection, check, listed, clock.now());
  return decided.replace
    ? { action: 'rotate', reason: `${keys.issuer} rejects the newest key` }
    : { action: 'block', error: newestKeyRejected(run, version, check.host, decided.reason) };
}

/**
 * Drops an unsaved credential that isn't needed any more: the secret was recreated, or a newer version contains a key that
 * the issuer accepts. If the newer version contains the used refresh token, an operator stored the old payload again. Then only
 * the unsaved credential can renew the key.
 */
async function reviewUnsaved(
  run: Run,
  inspection: Inspection,
): Promise<{ readonly isNeeded: boolean; readonly warnings: readonly string[] }> {
  const { secret, unsaved, options } = run;
  const credential = unsaved.get(secret);
  if (credential === undefined) return { isNeeded: false, warnings: [] };
  const reason = await reasonToDiscard(run, inspection, credential);
  if (reason === undefined) return { isNeeded: true, warnings: [] };
  if (!options.dryRun) unsaved.discard(secret);
  return {
    isNeeded: false,
    warnings: [`a key that an earlier run couldn't store isn't needed any more: ${reason}`],
  };
}

/** @returns undefined if the credential is still needed, or if that is uncertain */
async function reasonToDiscard(
  run: Run,
  { current }: Inspection,
  { credential, issuedFrom, newestAtIssue, usedTokenFingerprint }: IssuedCredential,
): Promise<string | undefined> {
  const { session, deadlines } = run;
  if (issuedFrom !== undefined) {
    // If the lookup fails, the credential counts as still needed.
    const soon = new Deadlines(run.clock, deadlines.in(RETRY_FOR));
    const same = await getVersion({ ...run, deadlines: soon }, issuedFrom).catch(() => issuedFrom);
    if (same === undefined || isOtherVersion(issuedFrom, same)) return 'the secret was recreated';
  }
  if (current === undefined || current.version.number <= newestAtIssue) return undefined;
  const { number } = current.version;
  if (current.credential.fingerprint === credential.fingerprint) {
    return `version ${number} contains it`;
  }
  const token = current.credential.tokenFingerprint;
  if (token !== undefined && token === usedTokenFingerprint) return undefined;
  const check = await verifyOrInconclusive(() =>
    session.verifyNewest(current.credential, { deadline: deadlines.end }),
  );
  return check.verdict === 'accepted' ? `version ${number} was added since` : undefined;
}

/** Whether two versions of one number were created at different times, as far as both times are known. */
function isOtherVersion(a: Version, b: Version): boolean {
  const isKnown = [a, b].every(
    ({ unlisted, incomplete }) => unlisted !== true && incomplete !== true,
  );
  return isKnown && a.createdAt !== b.createdAt;
}

/** Why nothing can be cleaned up; undefined if the issuer accepted the key, or if VERIFY is false. */
function notVerified(run: Run, version: Version, check: KeyCheck | undefined): Failure | undefined {
  const { keys, policy } = run;
  if (!policy.verify || check?.verdict === 'accepted') return undefined;
  if (check?.verdict === 'rejected') {
    return { step: 'verify', error: newestKeyRejected(run, version, check.host) };
  }
  return {
    step: 'verify',
    error: new RotationError('VERIFY_INCONCLUSIVE', {
      problem: `${keys.issuer} gave no clear answer about the key of version ${version.number}${check === undefined ? '' : `: ${check.problem}`}. So nothing was disabled or revoked.`,
      action: `Wait for the next run, which verifies the key again. If this persists, check whether ${keys.issuer} is available.`,
    }),
  };
}

function newestKeyRejected(
  { keys, secret }: Run,
  { number }: Version,
  host: string,
  reason?: string,
): RotationError {
  return new RotationError('NEWEST_KEY_REJECTED', {
    problem: `${host} rejects the key of version ${number}, the newest version of ${secret.name}.${reason === undefined ? '' : ` The rotator doesn't replace it: ${reason}.`}`,
    action:
      `Check that ${host} is the right host (the configured endpoint, or the endpoint in the payload). If the key was revoked, add a ` +
      `good credential as a new version: the payload of an older version that still works, or ${keys.newCredential}.`,
  });
}
