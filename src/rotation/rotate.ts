/**
 * The rotation of one secret.
 *
 *   inspect ──> decide ──> issue ──> verify ──> add ──> disable ──> destroy ──> revoke
 *      │           │         │         │         │         │
 *      │           │         │         │         │         └ failed: incomplete, the next run continues here
 *      │           │         │         │         └ failed: a refreshed credential stays in memory, the next run adds it
 *      │           │         │         ├ a newer version exists: superseded
 *      │           │         │         ├ rejected: failed, the old key stays the newest
 *      │           │         │         └ inconclusive: added, because it must not be lost; nothing is cleaned up
 *      │           │         └ refused: failed, the old key stays the newest
 *      │           └ not due, or blocked: the newest key is verified, then the cleanup follows
 *      └ failed: nothing was changed
 *
 * Adding a version promotes it: `latest` names the version that was added last, whatever its state. So the old key works
 * until the new one is in place and verified, and wherever a run ends, the next one continues.
 */
import { RotationError, toRotationError } from '../errors';
import { applyCleanup, NO_CLEANUP, planCleanup, type Failure, type CleanupInput } from './cleanup';
import { TIME_FOR_LAST_CALLS, Deadlines, RETRY_FOR } from './deadlines';
import { inspect, getVersion, type Inspection } from './inspect';
import { decide, permissionsFor, replaceRejected, visibleBlocker, type Decision } from './policy';
import type { CurrentKey, KeyCheck, Version } from './ports';
import { isRecreated, tooLateToIssue, renew, type Renewal, type Renewed } from './renew';
import { toResult, type RunRecord, type RunResult } from './result';
import type { Run } from './run';
import type { IssuedCredential } from './unsaved';
import { verifyOrInconclusive, verifyNewest } from './verify';

/** Runs the rotation. Never throws: every failure is a result. */
export async function rotate(run: Run): Promise<RunResult> {
  const record = await runSteps(run).catch((thrown: unknown): RunRecord => ({
    ...NOTHING_DONE,
    failure: { step: 'inspect', error: toRotationError(thrown) },
  }));
  return toResult(run, record);
}

const NOT_ATTEMPTED: Renewed = { renewal: { kind: 'not_attempted' }, warnings: [], revoked: [] };
export const NOTHING_DONE: RunRecord = {
  renewed: NOT_ATTEMPTED,
  cleanup: NO_CLEANUP,
  warnings: [],
};

async function runSteps(run: Run): Promise<RunRecord> {
  const { options, policy, clock, deadlines, timings } = run;
  if (!deadlines.canIssue) throw tooLateToIssue();
  const inspection = await timings.measure('inspect', () => inspect(run, permissionsFor(policy)));
  const alias = await run.aliasOf(inspection.canonicalName);
  if (alias !== undefined) return { ...NOTHING_DONE, inspection, alias };

  const unsaved = await reviewUnsaved(run, inspection);
  const situation = { ...options, inspection, hasUnsaved: unsaved.isKept, now: clock.now() };
  const judged = await verifyBeforeRun(run, inspection, decide(situation, policy));
  const begun = { ...judged, inspection, warnings: [...inspection.warnings, ...unsaved.warnings] };
  if (options.dryRun) return { ...begun, ...(await dryRun(run, inspection, judged, unsaved)) };

  const renewed =
    judged.decision.action === 'rotate' ? await renew(run, inspection) : NOT_ATTEMPTED;
  const check = await checkInUse(run, inspection, renewed.renewal, judged.check);
  const standing = cleanupInputAfter(run, inspection, renewed.renewal, check);
  const cleanup = standing === undefined ? NO_CLEANUP : await cleanUp(run, standing);
  return { ...begun, renewed, check, cleanup };
}

/**
 * Which key applications get now, if that is certain. This is the safety argument of the project: nothing is disabled,
 * destroyed or revoked unless this key is known, is in the newest version, and was verified in this run.
 *
 * It isn't certain if somebody else added a version, if an add might have arrived, and if the secret was recreated.
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
    case 'superseded':
    case 'not_stored':
      return undefined;
  }
}

/**
 * The key that applications had at the inspection, if they still can have it: the old key of a failed add. It can't justify
 * that a version is disabled, but orphaned keys can be revoked: references are looked up by number.
 */
function keyBefore({ newest, current }: Inspection, { kind }: Renewal): CurrentKey | undefined {
  return kind === 'not_stored' && current?.version.number === newest?.number ? current : undefined;
}

async function checkInUse(
  run: Run,
  inspection: Inspection,
  renewal: Renewal,
  known: KeyCheck | undefined,
): Promise<KeyCheck | undefined> {
  if (renewal.kind === 'rotated') return renewal.check;
  // The answer about the old key says nothing about the version that somebody else added.
  if (renewal.kind === 'superseded') return undefined;
  if (known !== undefined) return known;
  const key = keyInUse(inspection, renewal) ?? keyBefore(inspection, renewal);
  return key && run.timings.measure('verify', () => verifyNewest(run, key));
}

function cleanupInputAfter(
  run: Run,
  inspection: Inspection,
  renewal: Renewal,
  check: KeyCheck | undefined,
): CleanupInput | undefined {
  const certain = keyInUse(inspection, renewal);
  const key = certain ?? keyBefore(inspection, renewal);
  if (key === undefined) return undefined;
  const { version, credential } = key;
  return {
    inspection,
    versions: withNewest(inspection.versions, version),
    newest: version,
    keyId: credential.keyId,
    isCertain: certain !== undefined,
    blocked: unverified(run, version, check),
  };
}

function withNewest(versions: readonly Version[], newest: Version): Version[] {
  return [...versions.filter(({ number }) => number !== newest.number), newest];
}

async function cleanUp(run: Run, standing: CleanupInput): Promise<RunRecord['cleanup']> {
  try {
    const deadlines = run.deadlines.before(TIME_FOR_LAST_CALLS);
    return await applyCleanup({ ...run, deadlines }, standing);
  } catch (thrown) {
    const failure: Failure = { step: 'disable', error: toRotationError(thrown) };
    return { ...NO_CLEANUP, failures: [failure] };
  }
}

/**
 * Verifies the newest key of a run that doesn't rotate for another reason. A rejected key is replaced, or blocks.
 */
async function verifyBeforeRun(
  run: Run,
  inspection: Inspection,
  decision: Decision,
): Promise<{ readonly decision: Decision; readonly check?: KeyCheck | undefined }> {
  const { session, clock, timings, deadlines, keys } = run;
  const { current, newest } = inspection;
  if (decision.action === 'rotate' || current?.version.number !== newest?.number) {
    return { decision };
  }
  const check = current && (await timings.measure('verify', () => verifyNewest(run, current)));
  if (current === undefined || check?.verdict !== 'rejected' || decision.action === 'block') {
    return { decision, check };
  }
  const listed = check.byIssuer
    ? 'unknown'
    : await session
        .listedState(current.credential, { deadline: deadlines.end })
        .catch(() => 'unknown' as const);
  const verdict = replaceRejected(inspection, check, listed, clock.now());
  return verdict.replace
    ? { decision: { action: 'rotate', reason: `${keys.vendor} rejects the newest key` }, check }
    : {
        decision: {
          action: 'block',
          error: newestKeyRejected(run, current.version, check.host, verdict.reason),
        },
        check,
      };
}

/** What a real run would do. */
async function dryRun(
  run: Run,
  inspection: Inspection,
  { decision, check }: { readonly decision: Decision; readonly check?: KeyCheck | undefined },
  unsaved: { readonly isKept: boolean },
): Promise<Pick<RunRecord, 'renewed' | 'cleanup' | 'decision'>> {
  const { clock, keys } = run;
  const { newest, versions, current } = inspection;
  // An unsaved credential only has to be stored. Then nothing about the next key blocks the run.
  const blocker =
    decision.action === 'rotate' && !unsaved.isKept
      ? visibleBlocker(inspection, keys.vendor, keys.remedy, clock.now())
      : undefined;
  const decided: Decision = blocker ? { action: 'block', error: blocker } : decision;
  const added: Version = {
    number: (newest?.number ?? 0) + 1,
    state: 'ENABLED',
    createdAt: clock.now(),
  };
  const isRotation = decided.action === 'rotate';
  const top = isRotation ? added : current?.version;
  const standing: CleanupInput | undefined =
    top === undefined || (!isRotation && top.number !== newest?.number)
      ? undefined
      : {
          inspection,
          versions: withNewest(versions, top),
          newest: top,
          keyId: isRotation ? undefined : current?.credential.keyId,
          isCertain: true,
          blocked: isRotation ? undefined : unverified(run, top, check),
        };
  const cleanup = standing === undefined ? NO_CLEANUP : await planCleanup(run, standing);
  return { renewed: NOT_ATTEMPTED, cleanup, decision: decided };
}

/**
 * Looks whether an unsaved credential is still needed. It isn't if the secret was recreated, or if somebody added a newer
 * version with a key that the issuer accepts. A version with the used refresh token is the old payload, stored again: it
 * has no successor but the unsaved credential.
 */
async function reviewUnsaved(
  run: Run,
  inspection: Inspection,
): Promise<{ readonly isKept: boolean; readonly warnings: readonly string[] }> {
  const { secret, unsaved, options } = run;
  const kept = unsaved.get(secret);
  if (kept === undefined) return { isKept: false, warnings: [] };
  const reason = await whyReplaced(run, inspection, kept);
  if (reason === undefined) return { isKept: true, warnings: [] };
  if (!options.dryRun) unsaved.discard(secret);
  return {
    isKept: false,
    warnings: [`a key that an earlier run couldn't store isn't needed any more: ${reason}`],
  };
}

async function whyReplaced(
  run: Run,
  { current }: Inspection,
  { credential, issuedFrom, newestAtIssue, usedTokenFingerprint }: IssuedCredential,
): Promise<string | undefined> {
  const { session, deadlines } = run;
  if (issuedFrom !== undefined) {
    // A failed look is no reason to leave the credential in memory.
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

/** Why nothing can be cleaned up. */
function unverified(run: Run, version: Version, check: KeyCheck | undefined): Failure | undefined {
  const { keys, policy } = run;
  if (!policy.verify || check?.verdict === 'accepted') return undefined;
  if (check?.verdict === 'rejected') {
    return { step: 'verify', error: newestKeyRejected(run, version, check.host) };
  }
  return {
    step: 'verify',
    error: new RotationError('VERIFY_INCONCLUSIVE', {
      problem: `${keys.vendor} gave no clear answer about the key of version ${version.number}${check === undefined ? '' : `: ${check.problem}`}. So nothing was disabled or revoked.`,
      action: `Wait for the next run, which asks again. If this persists, check whether ${keys.vendor} is available.`,
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
    problem: `${host} rejects the key of version ${number} of ${secret.name}, the newest.${reason === undefined ? '' : ` The rotator doesn't replace it: ${reason}.`}`,
    action:
      `Check that ${host} is the right host (the configured endpoint, or the endpoint in the payload). If the key was revoked, add a ` +
      `good credential as a new version: the payload of an older version that still works, or ${keys.remedy}.`,
  });
}
