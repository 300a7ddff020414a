/**
 * The response to compromised keys of one secret. The effects, in order:
 *
 * 1. A new key is issued, verified and added, as in a rotation. If that fails, nothing is revoked or disabled.
 * 2. Every other key of the secret is revoked: those in its versions, and those with its description.
 * 3. The old keys are verified until the issuer rejects them, and the next version numbers are read again. If another process
 *    added a compromised key meanwhile, the response starts again.
 * 4. Every version but the newest is disabled. Versions that another attempt must read stay enabled.
 *
 * A process can end after any of these calls. The next attempt counts a version that was added since the request as the new
 * key, and continues. With `revokeFirst`, step 2 comes before step 1.
 */
import { mapConcurrently } from '../concurrency';
import { SECOND } from '../duration';
import { RotationError, toRotationError } from '../errors';
import { changeVersions, NO_CLEANUP, revokeKeys, type Failure } from './cleanup';
import {
  QUOTA_RETRY_FOR,
  RETRY_FOR,
  TIME_FOR_LAST_CALLS,
  TIME_TO_ISSUE_AND_ADD,
} from './deadlines';
import { exists, getVersion, inspect, type Inspection } from './inspect';
import {
  newestKeys,
  type NewestKey,
  READS_AT_ONCE,
  readVersion,
  remainingNumbers,
  type Reading,
} from './key-usage';
import { OldKeys, toCompromisedKey } from './old-keys';
import { permissionsFor } from './policy';
import type { CurrentKey, KeySession, Secret, Version } from './ports';
import { isRecreated, renew, tooLateToIssue } from './renew';
import type { RunRecord, RunResult } from './result';
import { failedRun, NOTHING_DONE, resultOf } from './rotate';
import type { Run } from './run';
import { verifyNewest, verifyOrInconclusive } from './verify';

/** How often a response starts again because another process added a version. */
const MAX_RESTARTS = 3;

/** How long a response waits for the issuer to reject the old keys. */
const REJECTED_WITHIN = 60 * SECOND;

const FIRST_REVOKE_PAUSE = 0.5 * SECOND;
const LONGEST_REVOKE_PAUSE = 5 * SECOND;

export interface CompromiseOptions {
  /** The newest version contains the new key if it was created since this time, and no older version contains the same key. */
  readonly since?: number | undefined;
  /** Revoke the old keys before a new one is issued. */
  readonly revokeFirst: boolean;
  /** The operator's reason for the request. */
  readonly reason?: string | undefined;
}

export interface CompromiseRun extends Run {
  readonly compromise: CompromiseOptions;
  readonly hasManagementKey: boolean;
  /** The keys in the newest versions of all configured secrets, as they were at most ten seconds ago. */
  readonly newestKeys: () => Promise<readonly NewestKey[]>;
  /** All configured secrets. The response doesn't revoke the newest keys of other secrets. */
  readonly configured: readonly Secret[];
  /**
   * Runs `work` in a new session, which reads the list of keys again.
   *
   * @param version the newest version of this secret. If the secret is that of the management key, the session reads the
   *   management key from this version. Unlike `latest`, a number doesn't lag
   */
  readonly inSession: <T>(version: number, work: (session: KeySession) => Promise<T>) => Promise<T>;
  /** Called when the attempt to issue a new key has ended. */
  readonly onRenewed: () => void;
  /** Resolves when the attempt to issue a key for another secret of the request has ended. For all other secrets: at once. */
  readonly renewalOf: (name: string) => Promise<void>;
}

/** Never throws: every failure is a result. */
export async function respond(run: CompromiseRun): Promise<RunResult> {
  const old = new OldKeys(run.compromise.since);
  const verifying = { ...run, policy: { ...run.policy, verify: true } };
  let record: RunRecord | 'restart' = 'restart';
  try {
    for (let passes = 0; record === 'restart'; passes += 1) {
      if (passes > MAX_RESTARTS) throw supersededTooOften(run);
      record = await respondOnce(verifying, old);
    }
  } catch (thrown) {
    record = failedRun({ step: 'inspect', error: toRotationError(thrown) });
  } finally {
    run.onRenewed();
  }
  return record.earlierName === undefined ? toResponse(run, record, old) : resultOf(run, record);
}

/** Runs the steps once. Returns `restart` if another process added a version, so that the steps must run again. */
async function respondOnce(run: CompromiseRun, old: OldKeys): Promise<RunRecord | 'restart'> {
  const { timings, policy } = run;
  const inspection = await timings.measure('inspect', () => inspect(run, permissionsFor(policy)));
  const { versions, warnings } = inspection;
  const inspected = { ...NOTHING_DONE, inspection, warnings };
  const earlierName = await run.earlierNameOf(inspection.canonicalName);
  if (earlierName !== undefined) return { ...inspected, earlierName };
  const listed = versions.filter(({ state }) => state !== 'DESTROYED').map(({ number }) => number);
  await readVersions(run, remainingNumbers(versions) ?? listed, old, versions);

  // Step 1
  const added = (await addedSince(run, inspected, old)) ?? (await addKey(run, inspected, old));
  run.onRenewed();
  if (added === 'restart') return added;
  if (added.key === undefined) {
    // The result must name the old keys that still work.
    await verifyOldKeys(run, old);
    return withRejectedKey(run, added.record, old);
  }

  try {
    // Steps 2 and 3
    old.areListed = run.hasManagementKey && added.key.credential.keyId !== undefined;
    const newest = await timings.measure('revoke', () =>
      revokeUntilRejected(run, inspection, added.key, old),
    );
    if (newest === undefined) return 'restart';

    // Step 4, without etags: a version with a compromised key must be disabled even if it changed meanwhile.
    const numbers = old.versionsToDisable(newest.version.number);
    const enabled = numbers.map((number): Version => ({ number, state: 'ENABLED', createdAt: 0 }));
    const soon = { ...run, deadlines: run.deadlines.before(TIME_FOR_LAST_CALLS) };
    const { done, ...rest } = await changeVersions(soon, 'disable', enabled, newest.version);
    return { ...added.record, cleanup: { ...NO_CLEANUP, ...rest, disable: done } };
  } catch (thrown) {
    // The new key is stored, so the result must name its version.
    const failure = { step: 'revoke', error: toRotationError(thrown) } as const;
    return { ...added.record, failure };
  }
}

/** Lets the result report that applications are being rejected, if `revokeFirst` revoked their key and no new key was added. */
function withRejectedKey({ keys }: Run, record: RunRecord, old: OldKeys): RunRecord {
  const current = record.inspection?.current;
  if (current === undefined || !old.isRejected(current.credential)) return record;
  return { ...record, check: { verdict: 'rejected', host: keys.issuer, byIssuer: true } };
}

type Inspected = RunRecord & { readonly inspection: Inspection };

/** The new key, if the issuer accepts it. Otherwise the record contains the failure. */
type Added =
  | { readonly record: RunRecord; readonly key: CurrentKey }
  | { readonly record: RunRecord; readonly key?: undefined };

/**
 * The newest version, if an earlier attempt added it after the request. If an older version contains the same key, an
 * operator stored an old key again. If a later attempt might read more versions, the newest version doesn't count as new.
 */
async function addedSince(
  run: CompromiseRun,
  inspected: Inspected,
  old: OldKeys,
): Promise<Added | undefined> {
  const { newest, current } = inspected.inspection;
  const { since = Infinity } = run.compromise;
  if (newest === undefined || current?.version.number !== newest.number) return undefined;
  if (newest.createdAt < since || newest.incomplete === true) return undefined;
  if (old.isOld(current) || old.canReadMore) return undefined;
  const check = await run.timings.measure('verify', () => verifyNewest(run, current));
  if (check?.verdict === 'rejected') return undefined;
  old.addAllExcept(current);
  old.isRepeat = true;
  const reason = `version ${newest.number} was added since the request`;
  const decision = { action: 'skip', outcome: 'already_rotated', reason } as const;
  return verified(run, { ...inspected, decision, check }, current);
}

async function addKey(
  run: CompromiseRun,
  inspected: Inspected,
  old: OldKeys,
): Promise<Added | 'restart'> {
  const { inspection } = inspected;
  old.addAllExcept(undefined);
  if (run.compromise.revokeFirst && !(inspection.next instanceof RotationError)) {
    // Without time to issue a key, applications would have none until the next attempt.
    if (!run.deadlines.canIssue) throw tooLateToIssue();
    const deadlines = run.deadlines.before(TIME_TO_ISSUE_AND_ADD);
    await revokeOldKeys({ ...run, deadlines }, inspection, undefined, old);
  }
  const renewed = await renew(run, inspection);
  const { renewal } = renewed;
  if (renewal.kind === 'superseded') {
    old.warnings.push(...renewed.warnings);
    for (const keyId of renewed.revoked) old.revoked.add(keyId);
    return 'restart';
  }
  if (renewal.kind !== 'rotated') {
    return { record: { ...inspected, inspection: renewed.inspection ?? inspection, renewed } };
  }
  const { version, issued, check } = renewal;
  if (isRecreated(inspection.newest, version)) return 'restart';
  const key = { version, credential: issued.credential };
  return verified(run, { ...inspected, renewed, check }, key);
}

/** Returns the new key only if the issuer accepted it. Otherwise the response revokes no old key. */
function verified({ keys: { issuer } }: Run, record: RunRecord, key: CurrentKey): Added {
  const { check } = record;
  if (check?.verdict === 'accepted') return { record, key };
  const problem = check?.verdict === 'inconclusive' ? `: ${check.problem}` : '';
  const error = new RotationError('VERIFY_INCONCLUSIVE', {
    problem: `${issuer} gave no clear answer about the new key in version ${key.version.number}${problem}. So no old key was revoked.`,
    action: `Wait: Pub/Sub repeats a message by itself. Over HTTP, send the request again, and set 'since' to the time of the first request. If this persists, check whether ${issuer} is available.`,
  });
  return { record: { ...record, failure: { step: 'verify', error } } };
}

/**
 * Revokes the old keys until the issuer rejects them, or until the time is over.
 *
 * @returns the key that applications get afterwards; undefined if that key is an old one
 */
async function revokeUntilRejected(
  run: CompromiseRun,
  inspection: Inspection,
  added: CurrentKey,
  old: OldKeys,
): Promise<CurrentKey | undefined> {
  const { clock } = run;
  // Twice, because step 4 also needs this time.
  const deadlines = run.deadlines.before(2 * TIME_FOR_LAST_CALLS);
  const until = deadlines.in(REJECTED_WITHIN);
  // Another process might have added a version between the inspected version and the new one.
  let last = inspection.newest?.number ?? 0;
  let newest = added;
  let isOver = false;
  for (let pause = FIRST_REVOKE_PAUSE; ; pause = Math.min(pause * 2, LONGEST_REVOKE_PAUSE)) {
    const found = await keyInNewest(run, newest, last, old);
    if (found === undefined) return undefined;
    newest = found;
    last = found.version.number;
    if (isOver) break;
    old.addAllExcept(found);
    const hasRevoked = await run.inSession(found.version.number, async (session) => {
      const round = { ...run, session, deadlines };
      const revoked = await revokeOldKeys(round, inspection, found, old);
      await verifyOldKeys(round, old);
      return revoked.length > 0;
    });
    // After a revocation, another round must list the keys again.
    isOver = (!hasRevoked && !old.canChange) || clock.monotonic() + pause > until;
    if (!isOver) await clock.sleep(pause);
  }
  const { version, credential } = newest;
  const check = await run.inSession(version.number, (session) =>
    verifyNewest({ ...run, session }, { version, credential }),
  );
  if (check?.verdict !== 'rejected') return newest;
  // Another response might have revoked the new key as an old one.
  old.add(credential);
  return undefined;
}

/**
 * The key that applications get: `known`, or the key of a newer version. Reads the versions after number `last`.
 *
 * @returns undefined if the newest version contains an old key, or one that the issuer doesn't accept
 */
async function keyInNewest(
  run: CompromiseRun,
  known: CurrentKey,
  last: number,
  old: OldKeys,
): Promise<CurrentKey | undefined> {
  let number = last;
  const numbers: number[] = [];
  while (await isAdded(run, number)) numbers.push((number += 1));
  await readVersions(run, numbers, old);
  if (number <= known.version.number) return known;
  const reading = old.readings.get(number);
  const version = await getVersion(run, { number, state: 'ENABLED', createdAt: run.clock.now() });
  if (reading?.kind !== 'key' || version === undefined) return undefined;
  const key = { version, credential: reading.credential };
  if (old.isOld(key)) return undefined;
  return (await verifyNewest(run, key))?.verdict === 'accepted' ? key : undefined;
}

/** Whether there is a version after this one. Access by number doesn't lag. */
function isAdded(run: Run, number: number): Promise<boolean> {
  return exists(run, number + 1, { quotaRetryFor: RETRY_FOR });
}

/** @param listed the versions as they were listed; empty if they weren't listed */
async function readVersions(
  run: Run,
  numbers: readonly number[],
  old: OldKeys,
  listed: readonly Version[] = [],
): Promise<void> {
  const versions = new Map(listed.map((version) => [version.number, version]));
  const retrying = { quotaRetryFor: QUOTA_RETRY_FOR };
  await mapConcurrently(READS_AT_ONCE, numbers, async (number) => {
    const failed = (thrown: unknown): Reading => {
      const { code, retryable } = toRotationError(thrown);
      return { kind: 'unreadable', number, problem: code, retryable };
    };
    const reading = readVersion(run, number, versions.get(number), retrying);
    old.readings.set(number, await reading.catch(failed));
  });
}

/**
 * Step 2: finds the keys with the secret's description, and revokes every old key that can be revoked.
 *
 * @param newest undefined if the new key isn't issued yet
 * @returns the ids of the revoked keys
 */
async function revokeOldKeys(
  run: CompromiseRun,
  { canonicalName }: Inspection,
  newest: CurrentKey | undefined,
  old: OldKeys,
): Promise<readonly string[]> {
  old.error = undefined;
  const managementKeyId = await listKeys(run, newest, old);
  const open = old.open.filter(({ isRevoked }) => !isRevoked);
  const ids = run.hasManagementKey ? open.flatMap(({ keyId }) => keyId ?? []) : [];
  const users = await secretsWith(run, canonicalName, ids, newest).catch(toRotationError);
  const whyNot = (keyId: string | undefined): string | undefined => {
    if (keyId === undefined) return "keys of its kind can't be revoked";
    if (!run.hasManagementKey) return 'no management key is configured';
    if (keyId === managementKeyId) return 'it is the management key in use';
    const user = users instanceof RotationError ? undefined : users.get(keyId);
    return user && `${user} uses it`;
  };
  for (const key of open) key.notRevoked = whyNot(key.keyId);
  const wanted = ids.filter((keyId) => whyNot(keyId) === undefined);
  if (users instanceof RotationError) {
    old.error = users;
    return [];
  }
  // A version that another process added could contain one of the keys.
  const { revoked, errors } = await revokeKeys(run, wanted, async (keyIds) =>
    newest !== undefined && (await isAdded(run, newest.version.number)) ? undefined : keyIds,
  );
  old.error = errors[0] ?? old.error;
  for (const key of open) key.isRevoked = revoked.includes(key.keyId ?? '');
  for (const keyId of revoked) old.revoked.add(keyId);
  return revoked;
}

/** @returns the id of the management key in use, if the keys could be listed */
async function listKeys(
  { hasManagementKey, secret, session, deadlines, clock }: CompromiseRun,
  newest: CurrentKey | undefined,
  old: OldKeys,
): Promise<string | undefined> {
  if (!hasManagementKey) return undefined;
  try {
    const { keys, skipped, managementKeyId } = await deadlines.retry(
      (limits) => session.ownKeys(secret, limits),
      { quotaRetryFor: QUOTA_RETRY_FOR },
    );
    const listed = new Set(keys.map(({ keyId }) => keyId));
    listed.delete(newest?.credential.keyId ?? '');
    old.addListed(listed, skipped, clock.now());
    return managementKeyId;
  } catch (thrown) {
    old.error = toRotationError(thrown);
    return undefined;
  }
}

/**
 * The names of other configured secrets whose newest versions contain one of these keys, by the key's id. If another secret
 * belongs to the same request, this function waits until the attempt to issue its new key has ended.
 *
 * @throws RotationError if another secret can't be read for now: its key could be one of these
 */
async function secretsWith(
  run: CompromiseRun,
  canonicalName: string | undefined,
  keyIds: readonly string[],
  newest: CurrentKey | undefined,
): Promise<ReadonlyMap<string, string>> {
  if (keyIds.length === 0) return new Map();
  const usersAmong = (newest: readonly NewestKey[]): Map<string, string> => {
    const isOther = ({ secret, canonicalName: name }: NewestKey): boolean =>
      secret !== run.secret.name && (name === undefined || name !== canonicalName);
    const users = newest.filter((key) => keyIds.includes(key.keyId) && isOther(key));
    return new Map(users.map(({ keyId, secret }) => [keyId, secret]));
  };
  const users = usersAmong(await run.newestKeys());
  // Don't wait before this response has issued its own key: two responses could wait for each other.
  if (users.size === 0 || newest === undefined) return users;
  const names = new Set(users.values());
  await Promise.all([...names].map((name) => run.renewalOf(name)));
  const secrets = run.configured.filter(({ name }) => names.has(name));
  return usersAmong(await newestKeys(run, secrets));
}

/** Step 3: verifies each old key, and records the keys that the issuer rejects. */
async function verifyOldKeys({ session, deadlines, clock }: Run, old: OldKeys): Promise<void> {
  const limits = { deadline: deadlines.end };
  await Promise.all(
    old.open.map(async (key) => {
      const { credential } = key;
      if (credential === undefined) return;
      const check = await verifyOrInconclusive(() => session.verifyRejected(credential, limits));
      if (check.verdict === 'rejected') key.rejectedAt = clock.now();
    }),
  );
}

/** The result of a response that didn't end before its deadline, or didn't begin. */
export function notResponded(run: CompromiseRun, failure: Failure): RunResult {
  return toResponse(run, failedRun(failure), new OldKeys());
}

/** The result of a run, with the fields of a compromise response. */
function toResponse(run: CompromiseRun, record: RunRecord, old: OldKeys): RunResult {
  const { renewed, decision, failure, cleanup } = record;
  const isRenewed =
    failure === undefined && (renewed.renewal.kind === 'rotated' || decision !== undefined);
  const problem = isRenewed ? old.whyNotContained(run) : undefined;
  const notContained: Failure[] = problem === undefined ? [] : [{ step: 'revoke', error: problem }];
  const failures = [...notContained, ...cleanup.failures];
  const notRead = old.notRead.length > 0 ? old.notRead : undefined;
  const notReadWarnings = notRead === undefined ? [] : [notReadWarning(notRead)];
  const base = resultOf(run, {
    ...record,
    cleanup: { ...cleanup, revoke: [...old.revoked], failures },
    warnings: [...record.warnings, ...old.warnings, ...notReadWarnings],
  });
  const contained = isRenewed && problem === undefined;
  const { error } = base.result;
  const message = [...(isRenewed ? [] : old.stillWorking()), error?.message].join(' ');
  return {
    ...base,
    status: contained ? base.status : error?.retryable === true ? 503 : 500,
    result: {
      ...base.result,
      reason: run.compromise.reason ?? 'the keys are compromised',
      error: error && { ...error, message },
      contained,
      compromisedKeys: old.all.map(toCompromisedKey),
      notRead,
    },
  };
}

function notReadWarning(numbers: readonly string[]): string {
  return `disabled versions can't be read (${numbers.join(', ')}): if their keys might have leaked, enable these versions and repeat the request`;
}

function supersededTooOften({ secret }: Run): RotationError {
  return new RotationError('NOT_CONTAINED_YET', {
    problem: `Other processes added versions to ${secret.name} again and again, so the response ended after ${MAX_RESTARTS} restarts.`,
    action: 'Find out in the audit log who adds versions. Then repeat the request.',
  });
}
