/**
 * Obtains the next key and stores it. The effects, in order:
 *
 * 1. A refresh token is used, or a key is minted (`issue`).
 * 2. The new key is verified; at the same time the run looks for a newer version (`verify`).
 * 3. A version is added (`add`). That promotes the key for every application that reads `latest`.
 *
 * If the process ends after 1, a refreshed key is lost, and the old key works until it expires. A minted key is orphaned, and
 * a later run revokes it. If the process ends after 3, the next run continues with the cleanup.
 */
import { inDays, isoTime, MINUTE, SECOND } from '../duration';
import { deadlineExceeded, RotationError, toRotationError } from '../errors';
import { isTransient, retry } from '../retry';
import {
  ISSUE_RETRY_FOR,
  TIME_FOR_LAST_CALLS,
  TIME_FOR_LATE_ADD,
  MINTED_KEY_ADD_WITHIN,
  OTHER_RUN_WAIT,
  QUOTA_RETRY_FOR,
  RETRY_FOR,
} from './deadlines';
import { credentialIn, exists, find, type Inspection } from './inspect';
import { renewalTime } from './policy';
import type { CurrentKey, IssuedKey, KeyCheck, NextKey, Version } from './ports';
import type { Run } from './run';
import type { IssuedCredential } from './unsaved';
import { verifyOrInconclusive, verifyIssued } from './verify';

/** How the attempt to renew a key ended. Every way out of a rotation is one of these. */
export type Renewal =
  | { readonly kind: 'not_attempted' }
  /** A dry run: a real run would try to add this version. */
  | { readonly kind: 'planned'; readonly version: Version }
  | {
      readonly kind: 'rotated';
      readonly issued: IssuedCredential;
      readonly version: Version;
      /** Undefined if keys aren't verified. */
      readonly check: KeyCheck | undefined;
    }
  /** Another process or an operator added a version during the run. That version stays the newest. */
  | { readonly kind: 'superseded'; readonly by: number }
  /** The old key is still in the newest version. */
  | {
      readonly kind: 'not_renewed';
      readonly step: 'issue' | 'verify';
      readonly error: RotationError;
    }
  /** A key was issued and not stored. If `isCertain`, no version contains it. Otherwise a version might contain it. */
  | {
      readonly kind: 'not_stored';
      readonly error: RotationError;
      readonly isCertain: boolean;
    };

export interface Renewed {
  readonly renewal: Renewal;
  readonly warnings: readonly string[];
  /** Ids of keys that this run minted and revoked again, because no version will contain them. */
  readonly revoked: readonly string[];
  /** The state before the second renewal. Set if another process had revoked the first new key, so the run renewed again. */
  readonly inspection?: Inspection | undefined;
}

export async function renew(run: Run, inspection: Inspection): Promise<Renewed> {
  const { timings } = run;
  const issuing = await timings.measure('issue', () => issue(run, inspection));
  if (!('issued' in issuing)) return { renewal: issuing, warnings: [], revoked: [] };
  const { issued } = issuing;
  const notes: string[] = [...issuing.warnings];
  const end = async (renewal: Renewal, isOrphaned: boolean): Promise<Renewed> => {
    const revoked = isOrphaned ? await revokeMinted(run, issued, notes) : [];
    return { renewal, warnings: notes, revoked };
  };

  const [check, newerBefore] = await timings.measure('verify', () =>
    Promise.all([
      verifyIssued(run, issued, inspection.current),
      newerVersion(run, inspection, notes),
    ]),
  );
  // If the verification is inconclusive, another process might have revoked both keys and added a version meanwhile.
  const newer =
    newerBefore === undefined && check?.verdict === 'inconclusive'
      ? await newerVersion(run, inspection)
      : newerBefore;
  if (newer !== undefined) return end({ kind: 'superseded', by: newer }, true);
  if (check?.verdict === 'rejected') {
    const error = newKeyRejected(run, issued, check.host);
    return end({ kind: 'not_renewed', step: 'verify', error }, true);
  }

  const added = await timings.measure('add', () => add(run, issued));
  if ('error' in added) return end(added, added.isCertain);
  run.unsaved.discard(run.secret);
  if (await wasRevoked(run, inspection, issued, added)) {
    const current = { version: added, credential: issued.credential };
    const later = { ...inspection, newest: added, current };
    return { inspection: later, ...(await renew(run, later)) };
  }
  if (check?.verdict === 'inconclusive') {
    notes.push(`the new key was added unverified: ${check.problem}`);
  }
  notes.push(...addedWarnings(run, inspection, added));
  notes.push(...lifetimeWarnings(run, { version: added, credential: issued.credential }));
  return end({ kind: 'rotated', issued, version: added, check }, false);
}

/**
 * Whether a compromise response in another process revoked the new key before this run stored it. The response adds a version,
 * so this run verifies the key only if the version numbers have a gap.
 */
async function wasRevoked(
  run: Run,
  { newest }: Inspection,
  issued: IssuedCredential,
  added: Version,
): Promise<boolean> {
  if (issued.by !== 'mint' || added.number <= (newest?.number ?? 0) + 1) return false;
  return (await verifyIssued(run, issued, undefined))?.verdict === 'rejected';
}

type Issuing =
  | { readonly issued: IssuedCredential; readonly warnings: readonly string[] }
  | Exclude<Renewal, { readonly kind: 'rotated' }>;

/** Returns the unsaved credential of an earlier run, if there is one. Otherwise it issues a key. */
async function issue(run: Run, inspection: Inspection): Promise<Issuing> {
  const { secret, unsaved, deadlines, clock, session, policy } = run;
  const { current, newest, next } = inspection;
  const failed = (error: RotationError): Issuing => ({ kind: 'not_renewed', step: 'issue', error });

  const earlier = unsaved.get(secret);
  if (earlier !== undefined) {
    const check = policy.verify
      ? await verifyOrInconclusive(() =>
          session.verifyNew(earlier.credential, { deadline: deadlines.latestIssue }),
        )
      : undefined;
    if (check?.verdict !== 'rejected' || next instanceof RotationError) {
      return { issued: earlier, warnings: [] };
    }
  }
  if (next instanceof RotationError) return failed(next);
  if (!deadlines.canIssue) return failed(tooLateToIssue());

  const attempts = new Attempts(next);
  const transientUntil = deadlines.in(ISSUE_RETRY_FOR, deadlines.latestIssue);
  const quotaUntil = deadlines.in(QUOTA_RETRY_FOR, deadlines.latestIssue);
  try {
    const { credential, warnings } = await retry(
      clock,
      () => attempts.next(deadlines.latestIssue),
      ({ quota }) => (attempts.areOver ? -Infinity : quota ? quotaUntil : transientUntil),
    );
    const issued: IssuedCredential = {
      credential,
      by: next.by,
      issuedAt: clock.monotonic(),
      issuedFrom: current?.version,
      usedTokenFingerprint: current?.credential.tokenFingerprint,
      newestAtIssue: newest?.number ?? 0,
    };
    unsaved.set(secret, issued);
    return { issued, warnings };
  } catch (thrown) {
    const error = toRotationError(thrown);
    if (!error.refused) return failed(error);
    // A refresh token works once. If another run used it first, that run adds a version.
    const newer = next.by === 'refresh' ? await waitForNewerVersion(run, inspection) : undefined;
    if (newer !== undefined) return { kind: 'superseded', by: newer };
    if (earlier !== undefined) return { issued: earlier, warnings: [] };
    const context = { answerLost: attempts.unknownOutcomes > 0, now: clock.now() };
    return failed(next.refusal(error, context));
  }
}

/** Counts attempts whose outcome is unknown: each might have used a token, or minted a key. */
class Attempts {
  unknownOutcomes = 0;
  readonly #next: NextKey;

  constructor(next: NextKey) {
    this.#next = next;
  }

  get areOver(): boolean {
    return this.unknownOutcomes > this.#next.maxUnknownOutcomes;
  }

  async next(deadline: number): Promise<IssuedKey> {
    try {
      return await this.#next.issue({ deadline });
    } catch (thrown) {
      if (toRotationError(thrown).outcomeUnknown) this.unknownOutcomes += 1;
      throw thrown;
    }
  }
}

/**
 * The number of the newest version that was added since the inspection. Versions are looked up by number, because lists
 * lag. If the search fails, the run continues without a newer version: a failed read isn't a reason to discard a credential.
 *
 * A copy of the current key isn't a newer version. Another process adds a copy if it repeats an add whose answer was lost. The
 * refresh token in the copy is already used.
 */
async function newerVersion(
  run: Run,
  { newest, current }: Inspection,
  warnings?: string[],
): Promise<number | undefined> {
  // The new credential must be stored soon, so the search ends after 30 s even if the quota of reads is used up.
  const retrying = { latest: run.deadlines.latestAdd, quotaRetryFor: RETRY_FOR };
  let newer: number | undefined;
  try {
    for (let number = (newest?.number ?? 0) + 1; ; number += 1) {
      const found = await find(run, number, retrying);
      if (found === undefined) break;
      const key = credentialIn(run.keys, found);
      const isCopy = key !== undefined && key.fingerprint === current?.credential.fingerprint;
      if (!isCopy) newer = number;
    }
  } catch (thrown) {
    warnings?.push(
      `the search for a newer version failed with ${toRotationError(thrown).code}; the run continued without it`,
    );
  }
  return newer;
}

async function waitForNewerVersion(run: Run, inspection: Inspection): Promise<number | undefined> {
  const { clock } = run;
  const giveUpAt = clock.monotonic() + OTHER_RUN_WAIT;
  for (;;) {
    const newer = await newerVersion(run, inspection);
    if (newer !== undefined || clock.monotonic() >= giveUpAt) return newer;
    await clock.sleep(SECOND);
  }
}

/**
 * Adds a version with the credential. An attempt whose outcome is unknown is repeated until shortly before the deadline: a
 * second copy is harmless, a lost credential isn't. Before each repetition the run reads the next version numbers, so that
 * an add that arrived late isn't repeated.
 */
async function add(
  run: Run,
  issued: IssuedCredential,
): Promise<Version | (Renewal & { readonly kind: 'not_stored' })> {
  const { secret, store, deadlines, clock } = run;
  const payload = issued.credential.serialize();
  const tooLate = issued.by === 'mint' ? issued.issuedAt + MINTED_KEY_ADD_WITHIN : Infinity;
  // A slow issue and verification can end after `latestAdd`. Even then the run tries to store the key.
  const latest = Math.min(Math.max(deadlines.latestAdd, deadlines.in(TIME_FOR_LATE_ADD)), tooLate);
  let outcomeUnknown = false as boolean;
  const attempt = async (): Promise<Version> => {
    if (clock.monotonic() > tooLate) throw mintedTooLongAgo();
    const stored = outcomeUnknown ? await findStored(run, payload, issued) : undefined;
    if (stored !== undefined) return stored;
    try {
      return await store.add(secret, payload, { deadline: latest });
    } catch (thrown) {
      outcomeUnknown ||= toRotationError(thrown).outcomeUnknown;
      throw thrown;
    }
  };
  // Google Cloud credentials were available for the inspection, so their absence is transient.
  const isRetryable = (error: RotationError): boolean =>
    isTransient(error) || error.code === 'CREDENTIALS_UNAVAILABLE';
  try {
    return await retry(clock, attempt, () => latest, isRetryable);
  } catch (thrown) {
    const cause = toRotationError(thrown);
    // The last attempt might have arrived after its deadline.
    const stored = await findStored(run, payload, issued);
    if (stored !== undefined) return stored;
    const error = issued.by === 'mint' ? cause : notStored(cause);
    return {
      kind: 'not_stored',
      error,
      isCertain: !outcomeUnknown && !(await mightExist(run, issued)),
    };
  }
}

/** The version that an earlier attempt added although its answer was lost. */
async function findStored(
  { secret, store, clock, deadlines }: Run,
  payload: Uint8Array,
  { newestAtIssue }: IssuedCredential,
): Promise<Version | undefined> {
  const limits = { deadline: deadlines.end };
  try {
    for (let number = newestAtIssue + 1; ; number += 1) {
      const access = await store.access(secret, number, limits);
      if (access.kind === 'absent') return undefined;
      if (access.kind === 'payload' && Buffer.compare(access.payload, payload) !== 0) continue;
      const version = await store.get(secret, number, limits).catch(() => undefined);
      if (access.kind === 'payload') {
        return version ?? { number, state: 'ENABLED', createdAt: clock.now(), unlisted: true };
      }
      // IAM can deny access to a number that no version has. So the search continues only after a version that exists.
      if (version === undefined) return undefined;
    }
  } catch {
    return undefined;
  }
}

/** Whether a version might contain the issued key, even though the add failed. */
async function mightExist(run: Run, { newestAtIssue }: IssuedCredential): Promise<boolean> {
  try {
    return await exists(run, newestAtIssue + 1, { quotaRetryFor: RETRY_FOR });
  } catch {
    return true;
  }
}

/** Revokes a minted key that no version will contain. If that fails, a later run finds the key by its description. */
async function revokeMinted(
  run: Run,
  { by, credential: { keyId } }: IssuedCredential,
  warnings: string[],
): Promise<string[]> {
  if (by !== 'mint' || keyId === undefined) return [];
  const { session } = run;
  const deadlines = run.deadlines.before(TIME_FOR_LAST_CALLS);
  const limits = { deadline: deadlines.in(QUOTA_RETRY_FOR) };
  const revoke = async (): Promise<void> => {
    const outcome = (
      await session.revoke([keyId], (keyIds) => Promise.resolve(keyIds), limits)
    ).get(keyId);
    if (outcome instanceof RotationError) throw outcome;
  };
  try {
    await deadlines.retry(revoke, { quotaRetryFor: QUOTA_RETRY_FOR });
    return [keyId];
  } catch (thrown) {
    warnings.push(
      `the new key ${keyId}, which no version contains, couldn't be revoked (${toRotationError(thrown).code}); if REVOKE is ` +
        'on, a later run revokes it, otherwise it lives until it expires',
    );
    return [];
  }
}

function addedWarnings({ keys }: Run, { newest, current }: Inspection, added: Version): string[] {
  const warnings: string[] = [];
  if (isRecreated(newest, added)) {
    warnings.push('the secret was recreated during the run; no version was disabled');
  }
  if (current?.credential.expiresAt === Infinity) {
    const { version, credential } = current;
    warnings.push(
      `the key of version ${version.number} (${credential.keyId ?? credential.fingerprint}) never expires, and the rotator ` +
        `doesn't revoke it: revoke it at ${keys.issuer} when no application uses it`,
    );
  }
  return warnings;
}

/** Warnings about settings that don't fit a key's lifetime. A configured lifetime was checked when the function started. */
function lifetimeWarnings({ secret, policy, clock }: Run, issued: CurrentKey): string[] {
  const { expiresAt, issuedAt } = issued.credential;
  const now = clock.now();
  const due = renewalTime(issued, issuedAt ?? now, policy);
  if (due === undefined || expiresAt === Infinity || secret.lifetimeMs !== undefined) return [];
  if (due <= now) {
    return [
      `the new key expires at ${isoTime(expiresAt)}, and with this RENEW_BEFORE it is due already: every run rotates the secret`,
    ];
  }
  return policy.gracePeriodMs > expiresAt - due
    ? [
        `GRACE_PERIOD is longer than the ${inDays(expiresAt - due)} days for which a superseded key lives: the key expires while its version is enabled`,
      ]
    : [];
}

/** Whether the secret was recreated: in a recreated secret, version numbers start at 1 again. */
export function isRecreated(newest: Version | undefined, added: Version): boolean {
  return added.number <= (newest?.number ?? 0);
}

export function tooLateToIssue(): RotationError {
  return deadlineExceeded(
    'Too little time was left to issue a key and to store it, so no key was issued.',
  );
}

function mintedTooLongAgo(): RotationError {
  return deadlineExceeded(
    `The new key was minted more than ${MINTED_KEY_ADD_WITHIN / MINUTE} minutes ago, so it wasn't added: another run might already treat the key as orphaned.`,
    'Wait for the next run, which mints another key.',
  );
}

export function notStored(cause: RotationError): RotationError {
  return new RotationError(
    'CREDENTIAL_NOT_STORED',
    {
      problem: `A key was issued and couldn't be stored (${cause.code}). This instance keeps the key in memory.`,
      action:
        'Correct the cause, which the warnings name. Then run the job at once, before the instance ends: its next run stores ' +
        'the key.',
    },
    { cause },
  );
}

function newKeyRejected({ keys }: Run, { by }: IssuedCredential, host: string): RotationError {
  return new RotationError('NEW_KEY_REJECTED', {
    problem:
      `${keys.issuer} (${host}) rejects the key that it issued, so the key wasn't added. ` +
      (by === 'mint'
        ? 'The next run mints another one.'
        : 'This instance keeps the key in memory, and its next run verifies it again.'),
    action: `If the next run fails, too, report the rejection to ${keys.issuer}, and store ${keys.newCredential} as a new version.`,
  });
}
