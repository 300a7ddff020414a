/**
 * The response to compromised keys of one secret. The effects, in order:
 *
 * 1. A new key is issued, verified and added, as in a rotation. If that fails, nothing is revoked or disabled.
 * 2. Every other key of the secret is revoked: those in its versions, and those with its description.
 * 3. The issuer is asked until it rejects each of them, and the next version numbers are read again. If another process added
 *    a compromised key meanwhile, the response starts again.
 * 4. Every older version is disabled whose key the issuer rejects. A version whose key might still work stays enabled, because
 *    another attempt must read it: otherwise a repeat would be contained. Scheduled runs disable it after the grace period.
 *
 * A process can end after any of these calls. The next attempt counts a version that was added since the request as the new
 * key, and continues. With `revokeFirst`, step 2 comes before step 1.
 */
import { mapConcurrently } from '../concurrency';
import { isoTime, MINUTE, SECOND } from '../duration';
import { RotationError, toRotationError } from '../errors';
import { NO_CLEANUP, type Failure } from './cleanup';
import { QUOTA_RETRY_FOR, RETRY_FOR, TIME_FOR_LAST_CALLS } from './deadlines';
import { credentialIn, getVersion, inspect, parse, type Inspection } from './inspect';
import { exists, remainingNumbers } from './key-usage';
import { permissionsFor } from './policy';
import {
  REVOKE_BATCH,
  type Credential,
  type CurrentKey,
  type KeyCheck,
  type KeySession,
  type Secret,
  type Version,
} from './ports';
import { isRecreated, renew, type Renewed } from './renew';
import type { CompromisedKey, RunRecord, RunResult } from './result';
import { resultOf } from './rotate';
import type { Run } from './run';
import { verifyNewest } from './verify';

/** How often a response starts again because another process added a version. */
const MAX_RESTARTS = 3;

/** For how long the issuer is asked whether it rejects the old keys. */
const REJECTED_WITHIN = 60 * SECOND;

/** The issuer's clock can differ from that of the request's time by this much. */
const CLOCK_DIFFERENCE = 5 * MINUTE;

const FIRST_PAUSE = 0.5 * SECOND;
const LONGEST_PAUSE = 5 * SECOND;

/** How many versions of one secret are read or changed at the same time. */
const CONCURRENCY = 8;

export interface CompromiseOptions {
  /** A version that was created since then contains the new key, unless an older version contains it, too. */
  readonly since?: number | undefined;
  /** Revoke the old keys before a new one is issued. */
  readonly revokeFirst: boolean;
  /** The operator's words. */
  readonly reason?: string | undefined;
}

export interface CompromiseRun extends Run {
  readonly compromise: CompromiseOptions;
  readonly hasManagementKey: boolean;
  /** The other configured secrets, whose newest keys are left alone. */
  readonly otherSecrets: readonly Secret[];
  /**
   * Opens a session with a list of keys of its own.
   *
   * @param version the newest version of this secret, which contains the management key if the secret is that of the
   *   management key. Unlike `latest`, a number doesn't lag
   */
  readonly openSession: (version?: number) => KeySession;
  /** Called when the attempt to issue a new key has ended. */
  readonly onRenewed: () => void;
  /** Resolves when that is so for another secret of the request; undefined for other secrets. */
  readonly renewalOf: (secret: Secret) => Promise<void> | undefined;
}

/** What reading a version showed. */
type Reading =
  | { readonly kind: 'key'; readonly number: number; readonly credential: Credential }
  | { readonly kind: 'disabled' | 'gone'; readonly number: number }
  | { readonly kind: 'unreadable'; readonly number: number; readonly retryable: boolean };

/** A key that is compromised. */
interface OldKey {
  readonly keyId?: string | undefined;
  readonly credential?: Credential | undefined;
  readonly expiresAt?: number | undefined;
  isRevoked: boolean;
  rejectedAt?: number | undefined;
  /** Why it can't be revoked. */
  heldBy?: string | undefined;
  /** Why the last attempt to revoke or to verify it failed. */
  error?: RotationError | undefined;
}

/** What a response knows, across its restarts. */
class Knowledge {
  readonly keys = new Map<string, OldKey>();
  readonly revoked = new Set<string>();
  readonly disabled = new Map<number, Version>();
  readonly warnings: string[] = [];
  /** The newest reading of each version. */
  readonly readings = new Map<number, Reading>();
  skipped = 0;
  listError: RotationError | undefined;

  /** The keys that the issuer isn't known to reject. */
  get open(): OldKey[] {
    return [...this.keys.values()].filter(({ rejectedAt }) => rejectedAt === undefined);
  }

  /** The fingerprints of keys and the ids are different names of a key: one entry has both. */
  isCompromised({ fingerprint, keyId = fingerprint }: Credential): boolean {
    return this.keys.has(keyId) || this.keys.has(fingerprint);
  }

  add(credential: Credential): void {
    const { keyId, fingerprint, expiresAt } = credential;
    const name = keyId ?? fingerprint;
    const known = this.keys.get(name);
    this.keys.set(name, { isRevoked: false, ...known, keyId, credential, expiresAt });
  }

  addById(keyId: string): void {
    if (!this.keys.has(keyId)) this.keys.set(keyId, { keyId, isRevoked: false });
  }

  remove({ keyId, fingerprint }: Credential): void {
    this.keys.delete(keyId ?? fingerprint);
  }
}

/** How a pass ended: with a new key that works and what is still to do, with a failure, or with another pass. */
type Pass =
  | { readonly kind: 'restart' }
  | { readonly kind: 'end'; readonly record: RunRecord; readonly newest?: CurrentKey | undefined };

/** Never throws: every failure is a result. */
export async function respond(run: CompromiseRun): Promise<RunResult> {
  const knowledge = new Knowledge();
  const verifying = { ...run, policy: { ...run.policy, verify: true } };
  let record: RunRecord | undefined;
  try {
    for (let passes = 0; record === undefined; passes += 1) {
      if (passes > MAX_RESTARTS) throw supersededTooOften(run);
      const pass = await respondOnce(verifying, knowledge);
      if (pass.kind === 'end') record = pass.record;
    }
  } catch (thrown) {
    const failure: Failure = { step: 'inspect', error: toRotationError(thrown) };
    record = { renewed: NOT_RENEWED, cleanup: NO_CLEANUP, warnings: [], failure };
  } finally {
    run.onRenewed();
  }
  if (record.alias !== undefined) return resultOf(run, record);
  return toCompromiseResult(run, record, knowledge);
}

/** The result of a response that ended before it began, or without a result of its own. */
export function notResponded(run: CompromiseRun, failure: Failure): RunResult {
  const record = { renewed: NOT_RENEWED, cleanup: NO_CLEANUP, warnings: [], failure };
  return toCompromiseResult(run, record, new Knowledge());
}

const NOT_CONTAINED: ReadonlySet<string> = new Set(['NOT_CONTAINED', 'NOT_CONTAINED_YET']);

const NOT_RENEWED: Renewed = { renewal: { kind: 'not_attempted' }, warnings: [], revoked: [] };

async function respondOnce(run: CompromiseRun, knowledge: Knowledge): Promise<Pass> {
  const { timings, policy, compromise } = run;
  const inspection = await timings.measure('inspect', () => inspect(run, permissionsFor(policy)));
  const base: RunRecord = {
    inspection,
    renewed: NOT_RENEWED,
    cleanup: NO_CLEANUP,
    warnings: inspection.warnings,
  };
  const alias = await run.aliasOf(inspection.canonicalName);
  if (alias !== undefined) return { kind: 'end', record: { ...base, alias } };
  await readVersions(run, inspection.versions, knowledge);

  const added = await alreadyAdded(run, inspection, knowledge);
  if (added?.check.verdict === 'inconclusive') {
    const failure: Failure = { step: 'verify', error: notVerified(run, added.key, added.check) };
    return fail(run, { ...base, failure }, knowledge);
  }
  for (const reading of knowledge.readings.values()) {
    const isNew = reading.number === added?.key.version.number;
    if (reading.kind === 'key' && !isNew) knowledge.add(reading.credential);
  }
  const known = { ...base, check: added?.check };
  if (added !== undefined) {
    run.onRenewed();
    const reason = `version ${added.key.version.number} was added since the request`;
    const decision = { action: 'keep', outcome: 'already_rotated', reason } as const;
    return contain(run, { ...known, decision }, added.key, knowledge);
  }

  if (compromise.revokeFirst && !(inspection.next instanceof RotationError)) {
    await listKeys(run, run.session, undefined, knowledge);
    await revokeAll(run, run.session, inspection.canonicalName, knowledge, () =>
      Promise.resolve(false),
    );
  }
  const renewed = await renew(run, inspection);
  run.onRenewed();
  const { renewal } = renewed;
  const record: RunRecord = { ...base, renewed };
  switch (renewal.kind) {
    case 'rotated': {
      const { version, issued, check } = renewal;
      if (isRecreated(inspection.newest, version)) return { kind: 'restart' };
      const key = { version, credential: issued.credential };
      if (check?.verdict === 'accepted') {
        return contain(run, { ...record, check }, key, knowledge);
      }
      const failure: Failure = { step: 'verify', error: notVerified(run, key, check) };
      return fail(run, { ...record, check, failure }, knowledge);
    }
    case 'superseded':
      knowledge.warnings.push(...renewed.warnings);
      for (const keyId of renewed.revoked) knowledge.revoked.add(keyId);
      return { kind: 'restart' };
    case 'not_renewed':
    case 'not_stored':
    case 'not_attempted':
    case 'planned':
      return fail(run, record, knowledge);
  }
}

/** Nothing is revoked or disabled. The keys are listed all the same: the operator must know which of them work. */
async function fail(run: CompromiseRun, record: RunRecord, knowledge: Knowledge): Promise<Pass> {
  await Promise.all(
    [...knowledge.keys.values()].map((key) => verifyRejected(run, run.session, key)),
  );
  return { kind: 'end', record };
}

/**
 * The newest version, if it was added since the request by an earlier attempt. A key that an older version contains, too,
 * is an old one that an operator put back. A version that can't be read doesn't count, because its key is unknown.
 */
async function alreadyAdded(
  run: CompromiseRun,
  { newest, current }: Inspection,
  knowledge: Knowledge,
) {
  const { since } = run.compromise;
  if (since === undefined || newest === undefined || current === undefined) return undefined;
  const { version, credential } = current;
  const isNew = version.number === newest.number && newest.createdAt >= since;
  if (!isNew || newest.incomplete === true || isOld(run, credential, knowledge)) return undefined;
  const others = [...knowledge.readings.values()].filter(({ number }) => number !== newest.number);
  const isUncertain = others.some(
    (other) =>
      (other.kind === 'unreadable' && other.retryable) ||
      (other.kind === 'key' && other.credential.fingerprint === credential.fingerprint),
  );
  if (isUncertain) return undefined;
  const check = await run.timings.measure('verify', () => verifyNewest(run, current));
  return check === undefined || check.verdict === 'rejected' ? undefined : { key: current, check };
}

/** Also a key that was issued before the request, for instance that of a disabled version which an operator stored again. */
function isOld({ compromise }: CompromiseRun, key: Credential, knowledge: Knowledge): boolean {
  const { issuedAt = Infinity } = key;
  return knowledge.isCompromised(key) || issuedAt + CLOCK_DIFFERENCE < (compromise.since ?? 0);
}

/** Steps 2 to 4. The key that applications get is verified. */
async function contain(
  run: CompromiseRun,
  record: RunRecord,
  ours: CurrentKey,
  knowledge: Knowledge,
): Promise<Pass> {
  const { timings, deadlines, clock } = run;
  // Another process can have added a version between ours and the inspected one, or after ours.
  const before = record.inspection?.newest?.number ?? 0;
  await readNumbers(run, before + 1, ours.version.number - 1, knowledge);
  let newest = await newestKey(run, ours, knowledge);
  if (newest === undefined) return { kind: 'restart' };
  for (const reading of knowledge.readings.values()) {
    const isNewest = reading.number === newest.version.number;
    if (reading.kind === 'key' && !isNewest) knowledge.add(reading.credential);
  }
  knowledge.remove(newest.credential);

  let wasAdded = false;
  const isAdded = async (): Promise<boolean> => {
    const { number } = newest?.version ?? ours.version;
    return (wasAdded ||= await exists(run, number + 1, { quotaRetryFor: RETRY_FOR }));
  };
  const { canonicalName } = record.inspection ?? {};
  const isSettled = (): boolean => [...knowledge.keys.values()].every(isFinal);
  await timings.measure('revoke', async () => {
    const until = deadlines.before(TIME_FOR_LAST_CALLS).in(REJECTED_WITHIN);
    let pause = FIRST_PAUSE;
    for (let round = 1; !wasAdded; round += 1) {
      const session = run.openSession(newest?.version.number);
      const revokedBefore = knowledge.revoked.size;
      try {
        await listKeys(run, session, newest, knowledge);
        await revokeAll(run, session, canonicalName, knowledge, isAdded);
        await Promise.all(
          [...knowledge.keys.values()].map((key) => verifyRejected(run, session, key)),
        );
      } finally {
        session.close();
      }
      // A list that is older than the last revocation doesn't show its effect.
      const isListed = knowledge.revoked.size === revokedBefore;
      if (isSettled() && isListed && !isTransient(knowledge.listError)) return;
      if (clock.monotonic() + pause > until) return;
      await clock.sleep(pause);
      pause = Math.min(pause * 2, LONGEST_PAUSE);
    }
  });

  newest = await newestKey(run, newest, knowledge);
  if (newest === undefined) return { kind: 'restart' };
  const session = run.openSession(newest.version.number);
  const check = await verifyNewest({ ...run, session }, newest).finally(() => session.close());
  // Another response can have taken our key for an old one.
  if (check?.verdict === 'rejected') {
    knowledge.add(newest.credential);
    return { kind: 'restart' };
  }
  const failures = await disableOthers(run, newest.version, knowledge);
  const notContained = whyNotContained(run, knowledge);
  const all = notContained === undefined ? failures : [notContained, ...failures];
  const cleanup = {
    ...NO_CLEANUP,
    disable: [...knowledge.disabled.values()].sort((a, b) => a.number - b.number),
    revoke: [...knowledge.revoked],
    failures: all,
  };
  return { kind: 'end', newest, record: { ...record, cleanup } };
}

/**
 * The key that applications get, if it isn't compromised and the issuer accepts it: `known`, or that of a newer version.
 */
async function newestKey(
  run: CompromiseRun,
  known: CurrentKey,
  knowledge: Knowledge,
): Promise<CurrentKey | undefined> {
  let number = known.version.number;
  while (await exists(run, number + 1, { quotaRetryFor: RETRY_FOR })) number += 1;
  if (number === known.version.number) return known;
  await readNumbers(run, known.version.number, number, knowledge);
  const reading = knowledge.readings.get(number);
  if (reading?.kind !== 'key' || isOld(run, reading.credential, knowledge)) return undefined;
  const isOlder = [...knowledge.readings.values()].some(
    (other) =>
      other.kind === 'key' &&
      other.number !== number &&
      other.credential.fingerprint === reading.credential.fingerprint,
  );
  if (isOlder) return undefined;
  const version = await getVersion(run, { number, state: 'ENABLED', createdAt: run.clock.now() });
  if (version === undefined) return undefined;
  const key = { version, credential: reading.credential };
  return (await verifyNewest(run, key))?.verdict === 'accepted' ? key : undefined;
}

/** Every version that isn't destroyed, also those that a list doesn't show yet. */
async function readVersions(
  run: CompromiseRun,
  versions: readonly Version[],
  knowledge: Knowledge,
): Promise<void> {
  const listed = new Map(versions.map((version) => [version.number, version]));
  const isRemaining = ({ state }: Version): boolean => state !== 'DESTROYED';
  const wanted =
    remainingNumbers(versions) ?? versions.filter(isRemaining).map(({ number }) => number);
  const readings = await mapConcurrently(CONCURRENCY, wanted, (number) =>
    readVersion(run, number, listed.get(number)),
  );
  for (const reading of readings) knowledge.readings.set(reading.number, reading);
}

async function readNumbers(
  run: CompromiseRun,
  first: number,
  last: number,
  knowledge: Knowledge,
): Promise<void> {
  for (let number = first; number <= last; number += 1) {
    knowledge.readings.set(number, await readVersion(run, number, undefined));
  }
}

async function readVersion(
  run: CompromiseRun,
  number: number,
  listed: Version | undefined,
): Promise<Reading> {
  const { secret, store, keys, deadlines } = run;
  const retrying = { quotaRetryFor: QUOTA_RETRY_FOR };
  try {
    const access = await deadlines.retry(
      (limits) => store.access(secret, number, limits),
      retrying,
    );
    if (access.kind === 'payload') {
      const credential = parse(keys, access.payload);
      // A payload in an unknown format can contain a key all the same.
      return credential instanceof RotationError
        ? { kind: 'unreadable', number, retryable: false }
        : { kind: 'key', number, credential };
    }
    if (access.kind === 'absent') {
      // A list and an access that contradict each other: one of them lags.
      const isLag = listed?.state === 'ENABLED';
      return isLag ? { kind: 'unreadable', number, retryable: true } : { kind: 'gone', number };
    }
    if (listed?.state === 'DISABLED') return { kind: 'disabled', number };
    const actual = await getVersion(run, listed ?? { number, state: 'ENABLED', createdAt: 0 });
    if (actual === undefined || actual.state === 'DESTROYED') return { kind: 'gone', number };
    return actual.state === 'DISABLED'
      ? { kind: 'disabled', number }
      : { kind: 'unreadable', number, retryable: false };
  } catch (thrown) {
    return { kind: 'unreadable', number, retryable: toRotationError(thrown).retryable };
  }
}

/** Finds the keys with the secret's description. A key that was known by it alone and is listed no more is rejected. */
async function listKeys(
  run: CompromiseRun,
  session: KeySession,
  newest: CurrentKey | undefined,
  knowledge: Knowledge,
): Promise<void> {
  const { secret, deadlines, clock } = run;
  if (!run.hasManagementKey) return;
  try {
    const { keys, skipped } = await deadlines.retry((limits) => session.ownKeys(secret, limits), {
      quotaRetryFor: QUOTA_RETRY_FOR,
    });
    knowledge.listError = undefined;
    knowledge.skipped = skipped;
    const listed = new Set(keys.map(({ keyId }) => keyId));
    listed.delete(newest?.credential.keyId ?? '');
    for (const keyId of listed) knowledge.addById(keyId);
    for (const key of knowledge.keys.values()) {
      const { keyId = '' } = key;
      if (key.credential === undefined && !listed.has(keyId)) key.rejectedAt ??= clock.now();
    }
  } catch (thrown) {
    knowledge.listError = toRotationError(thrown);
  }
}

/**
 * Revokes the keys that are still accepted, as far as that is possible.
 *
 * @param isAdded whether another process added a version, which could contain one of the keys. Then no key is revoked
 */
async function revokeAll(
  run: CompromiseRun,
  session: KeySession,
  canonicalName: string | undefined,
  knowledge: Knowledge,
  isAdded: () => Promise<boolean>,
): Promise<void> {
  const open = knowledge.open.filter(({ isRevoked }) => !isRevoked);
  for (const key of open) {
    key.error = undefined;
    if (key.keyId === undefined) key.heldBy = "keys of its kind can't be revoked";
    else if (!run.hasManagementKey) key.heldBy = 'no management key is configured';
  }
  const revocable = open.filter(({ heldBy }) => heldBy === undefined);
  if (revocable.length === 0) return;
  const elsewhere = await keysElsewhere(run, canonicalName, revocable);
  if (elsewhere instanceof RotationError) {
    for (const key of revocable) key.error = elsewhere;
    return;
  }
  for (const key of revocable) {
    const other = elsewhere.get(key.keyId ?? '');
    if (other !== undefined) key.heldBy = `${other} uses it`;
  }
  const wanted = revocable.filter(({ heldBy }) => heldBy === undefined);
  for (let start = 0; start < wanted.length; start += REVOKE_BATCH) {
    await revokeBatch(run, session, wanted.slice(start, start + REVOKE_BATCH), knowledge, isAdded);
  }
}

async function revokeBatch(
  run: CompromiseRun,
  session: KeySession,
  batch: readonly OldKey[],
  knowledge: Knowledge,
  isAdded: () => Promise<boolean>,
): Promise<void> {
  const ids = batch.flatMap(({ keyId }) => keyId ?? []);
  const limits = { deadline: run.deadlines.before(TIME_FOR_LAST_CALLS).end };
  try {
    const recheck = async (keyIds: readonly string[]): Promise<readonly string[]> => {
      // The session leaves out the management key in use.
      for (const key of batch) {
        if (!keyIds.includes(key.keyId ?? '')) key.heldBy = 'it is the management key in use';
      }
      return (await isAdded()) ? [] : keyIds;
    };
    const results = await session.revoke(ids, recheck, limits);
    // If it is the only key, the session doesn't ask.
    if (results.size === 0 && ids.length === 1 && !(await isAdded())) {
      for (const key of batch) key.heldBy = 'it is the management key in use';
    }
    for (const key of batch) {
      const { keyId = '' } = key;
      const result = results.get(keyId);
      if (result instanceof RotationError) key.error = result;
      else if (result) {
        key.isRevoked = true;
        knowledge.revoked.add(keyId);
      }
    }
  } catch (thrown) {
    for (const key of batch) key.error = toRotationError(thrown);
  }
}

/**
 * The keys that the newest versions of other configured secrets contain, with the secret's name. A secret of the same
 * request gets a new key, too, so its attempt is waited for.
 *
 * @returns the error if another secret can't be read for now: its key could be one of these
 */
async function keysElsewhere(
  run: CompromiseRun,
  canonicalName: string | undefined,
  keys: readonly OldKey[],
): Promise<Map<string, string> | RotationError> {
  const { otherSecrets, store, deadlines } = run;
  const ids = new Set(keys.map(({ keyId }) => keyId));
  const keyIn = async (secret: Secret): Promise<string | undefined> => {
    const access = await deadlines.retry((limits) => store.access(secret, 'latest', limits), {
      latest: deadlines.in(RETRY_FOR),
    });
    const isSame = access.kind === 'payload' && access.canonicalName === canonicalName;
    return isSame && canonicalName !== undefined
      ? undefined
      : credentialIn(run.keys, access)?.keyId;
  };
  try {
    const found = await mapConcurrently(CONCURRENCY, otherSecrets, async (secret) => {
      try {
        const keyId = await keyIn(secret);
        const renewal = ids.has(keyId) ? run.renewalOf(secret) : undefined;
        if (renewal === undefined) return [keyId, secret.name] as const;
        await renewal;
        return [await keyIn(secret), secret.name] as const;
      } catch (thrown) {
        const error = toRotationError(thrown);
        if (error.retryable) throw error;
        return [undefined, secret.name] as const;
      }
    });
    return new Map(found.flatMap(([id, name]) => (id === undefined ? [] : [[id, name] as const])));
  } catch (thrown) {
    return toRotationError(thrown);
  }
}

/** Asks the issuer with the key itself. */
async function verifyRejected(
  { deadlines, clock }: CompromiseRun,
  session: KeySession,
  key: OldKey,
): Promise<void> {
  if (key.credential === undefined || key.rejectedAt !== undefined) return;
  try {
    const { credential } = key;
    const check = await session.verifyRejected(credential, { deadline: deadlines.end });
    if (check.verdict === 'rejected') key.rejectedAt = clock.now();
  } catch (thrown) {
    key.error ??= toRotationError(thrown);
  }
}

/** Whether neither another attempt nor more time changes anything. */
function isFinal({ rejectedAt, heldBy, error }: OldKey): boolean {
  return rejectedAt !== undefined || heldBy !== undefined || (error && !error.retryable) === true;
}

function isTransient(error: RotationError | undefined): boolean {
  return error?.retryable === true;
}

/** Step 4. */
async function disableOthers(
  run: CompromiseRun,
  newest: Version,
  knowledge: Knowledge,
): Promise<Failure[]> {
  const { secret, store, deadlines, timings } = run;
  const numbers = [...knowledge.readings.values()]
    .filter((reading) => {
      if (reading.number >= newest.number) return false;
      if (reading.kind !== 'key') return false;
      const { keyId, fingerprint } = reading.credential;
      const key = knowledge.keys.get(keyId ?? fingerprint);
      return key === undefined || key.rejectedAt !== undefined;
    })
    .map(({ number }) => number);
  if (numbers.length === 0) return [];
  const failures: Failure[] = [];
  await timings.measure('disable', () =>
    mapConcurrently(CONCURRENCY, numbers, async (number) => {
      const assumed: Version = { number, state: 'ENABLED', createdAt: 0 };
      try {
        // This reads the etag, because another process can have changed the version.
        const version = await getVersion(run, assumed);
        if (version?.state !== 'ENABLED') return;
        const isDisabled = await deadlines.retry((limits) =>
          store.disable(secret, version, newest, limits),
        );
        if (isDisabled) knowledge.disabled.set(number, version);
      } catch (thrown) {
        failures.push({ step: 'disable', error: toRotationError(thrown) });
      }
    }),
  );
  return failures.slice(0, 1);
}

function whyNotContained(run: CompromiseRun, knowledge: Knowledge): Failure | undefined {
  const { secret, keys } = run;
  const { listError, skipped, open } = knowledge;
  const unread = [...knowledge.readings.values()].filter(({ kind }) => kind === 'unreadable');
  if (open.length + unread.length + skipped === 0 && listError === undefined) return undefined;
  const canRetry =
    isTransient(listError) ||
    open.some((key) => !isFinal(key)) ||
    unread.some((reading) => reading.kind === 'unreadable' && reading.retryable);
  const errors = new Set(
    [listError, ...open.map(({ error }) => error)].flatMap((error) => error?.code ?? []),
  );
  const problem = [
    `Not every old key of ${secret.name} is known to be rejected by ${keys.vendor}.`,
    ...(open.length > 0 ? [stillWorking(open)] : []),
    ...(unread.length > 0
      ? [`The keys in version ${unread.map(({ number }) => number).join(', ')} couldn't be read.`]
      : []),
    ...(skipped > 0 ? [`${skipped} entries of the list of keys couldn't be read.`] : []),
    ...(errors.size > 0 ? [`Calls failed with ${[...errors].join(', ')}.`] : []),
  ].join(' ');
  const action = canRetry
    ? 'Repeat the request with the same time in `since`. Pub/Sub repeats a message by itself.'
    : `Revoke the keys that still work at ${keys.vendor}, or wait until they expire. The runbook describes each case.`;
  return {
    step: 'revoke',
    error: new RotationError(canRetry ? 'NOT_CONTAINED_YET' : 'NOT_CONTAINED', { problem, action }),
  };
}

function stillWorking(keys: readonly OldKey[]): string {
  const names = keys.map((key) => {
    const { keyId, credential, heldBy } = key;
    const name = keyId ?? credential?.fingerprint ?? '';
    return heldBy === undefined ? name : `${name} (${heldBy})`;
  });
  const shown = names.slice(0, 10).join(', ');
  const more = names.length > 10 ? ` and ${names.length - 10} more` : '';
  return `These keys might still work: ${shown}${more}.`;
}

/** The result of a run, with what a compromise response adds to it. */
function toCompromiseResult(
  run: CompromiseRun,
  record: RunRecord,
  knowledge: Knowledge,
): RunResult {
  const { renewal } = record.renewed;
  const isDone = renewal.kind === 'rotated' || record.decision !== undefined;
  const { open } = knowledge;
  const base = resultOf(run, {
    ...record,
    cleanup: { ...record.cleanup, revoke: [...knowledge.revoked] },
    warnings: [...record.warnings, ...knowledge.warnings, ...notReadWarnings(knowledge)],
  });
  const { result } = base;
  const isFailed = record.failure !== undefined || !isDone;
  const contained =
    !isFailed && record.cleanup.failures.every(({ error }) => !NOT_CONTAINED.has(error.code));
  const error =
    result.error !== undefined && isFailed && open.length > 0
      ? { ...result.error, message: `${stillWorking(open)} ${result.error.message}` }
      : result.error;
  const notRead = readingsOf(knowledge, 'disabled');
  return {
    ...base,
    status: contained ? base.status : error?.retryable === true ? 503 : 500,
    result: {
      ...result,
      reason: run.compromise.reason ?? 'the keys are compromised',
      error,
      contained,
      compromisedKeys: [...knowledge.keys.values()].map(toCompromisedKey),
      notRead: notRead.length > 0 ? notRead : undefined,
    },
  };
}

function toCompromisedKey(key: OldKey): CompromisedKey {
  const { keyId, credential, rejectedAt, expiresAt, heldBy } = key;
  return {
    ...(keyId === undefined ? { fingerprint: credential?.fingerprint } : { keyId }),
    ...(rejectedAt !== undefined
      ? { rejectedAt: isoTime(rejectedAt) }
      : {
          expiresAt:
            expiresAt === undefined
              ? undefined
              : expiresAt === Infinity
                ? 'never'
                : isoTime(expiresAt),
          notRevoked: heldBy,
        }),
  };
}

function readingsOf({ readings }: Knowledge, kind: Reading['kind']): string[] {
  return [...readings.values()]
    .filter((reading) => reading.kind === kind)
    .map(({ number }) => String(number));
}

function notReadWarnings(knowledge: Knowledge): string[] {
  const numbers = readingsOf(knowledge, 'disabled');
  if (numbers.length === 0) return [];
  return [
    `disabled versions can't be read (${numbers.join(', ')}): if their keys might have leaked, enable these versions and repeat the request`,
  ];
}

function notVerified(
  { keys }: Run,
  { version }: CurrentKey,
  check: KeyCheck | undefined,
): RotationError {
  return new RotationError('VERIFY_INCONCLUSIVE', {
    problem: `${keys.vendor} gave no clear answer about the new key in version ${version.number}${check?.verdict === 'inconclusive' ? `: ${check.problem}` : ''}. So no old key was revoked.`,
    action: `Repeat the request with the same time in 'since'. If this persists, check whether ${keys.vendor} is available.`,
  });
}

function supersededTooOften({ secret }: Run): RotationError {
  return new RotationError('NOT_CONTAINED_YET', {
    problem: `Other processes added versions to ${secret.name} again and again, so the response started ${MAX_RESTARTS} times again and then ended.`,
    action: 'Find out who adds versions. Then repeat the request.',
  });
}
