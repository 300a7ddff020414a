/**
 * The rotation of one secret: the procedure, and what it ends with.
 *
 *   gather ──> decide ──> issue ──> verify ──> add ──> retire ──> destroy
 *     │          │          │         │         │         │
 *     │          │          │         │         │         └ failed: incomplete, the next run goes on here
 *     │          │          │         │         └ failed: the credential is kept, the next run starts here
 *     │          │          │         ├ a newer version was added meanwhile: superseded
 *     │          │          │         ├ rejected: failed, readers keep the old key
 *     │          │          │         └ no clear answer: added (it must not be lost), nothing is retired
 *     │          │          └ refused: failed, readers keep the old key until it expires
 *     │          └ not due, already rotated: on to retire, with the newest key proved first
 *     └ failed: nothing was spent
 *
 * Adding a version is what promotes it: `latest` names the version created last, whatever its state. So the old key
 * keeps working until the new one is in place and proved, and from whichever step a run dies, the next one goes on.
 */
import { Credential } from './credential';
import { RotationError, toRotationError, type ErrorCode } from './errors';
import {
  permissionMissing,
  type Issuer,
  type Permission,
  type SecretStore,
  type Verdict,
} from './ports';
import {
  decide,
  newestEnabledVersion,
  newestVersion,
  renewalTime,
  versionsToDestroy,
  versionsToRetire,
  type Decision,
  type RenewalPolicy,
  type Version,
} from './renewal';
import { retry, type Clock } from './retry';
import type { SecretName } from './secret-name';

const SECOND = 1000;
const DAY = 24 * 3600 * SECOND;

/** How long a failing call to Secret Manager is tried again, while there is nothing to lose. */
export const STORE_PATIENCE = 30 * SECOND;
/** How long a failing refresh is tried again. One try can take 60 s, the fixed deadline of Momento's SDK. */
const ISSUE_PATIENCE = 90 * SECOND;
/** No refresh is begun when less time remains than one may take and storing its answer needs. */
const ISSUE_RESERVE = 90 * SECOND;
/** What remains for storing a credential when a secret has been looked at for the last time. */
const ADD_RESERVE = 30 * SECOND;
/** For this long after it was issued, a key that Momento rejects may merely not have spread yet. */
const NEW_KEY_LAG = 10 * SECOND;
/** How long a run whose refresh was refused looks for the version of another run that was first. */
const OTHER_RUN_PATIENCE = 5 * SECOND;
/** How long Momento is asked again when it gives no clear answer about a key. */
const VERIFY_PATIENCE = 5 * SECOND;

export interface RunOptions {
  readonly force: boolean;
  readonly dryRun: boolean;
  /** The time for which Cloud Scheduler scheduled the run, in milliseconds since the epoch. */
  readonly scheduledAt?: number;
  /** When the run has to have ended, in milliseconds since the epoch. */
  readonly deadline: number;
}

export type Step = 'gather' | 'issue' | 'verify' | 'add' | 'retire' | 'destroy';

export type Outcome =
  'rotated' | 'not_due' | 'already_rotated' | 'superseded' | 'dry_run' | 'incomplete' | 'failed';

/** The part of the answer that is about one secret. Fields that do not apply are left out. */
export interface RotationResult {
  secret: string;
  outcome: Outcome;
  reason?: string;
  /** The newest version, as far as the run knows. */
  version?: string;
  /** The version that the new one was issued from. */
  previousVersion?: string;
  /** When the newest key expires, RFC 3339. */
  expiresAt?: string;
  /** Whether this run proved the newest key with Momento. */
  verified?: boolean;
  disabled?: string[];
  destroyed?: string[];
  warnings?: string[];
  error?: { code: ErrorCode; step?: Step; message: string; retryable: boolean };
}

/** A result, and what only the log is told. */
export interface RotationReport {
  readonly result: RotationResult;
  readonly status: number;
  readonly keyFingerprint?: string;
  /** Days since the version that readers use was created; unset where the run could not see it. */
  readonly keyAgeDays?: number;
  /** Days since its key was due to be renewed, 0 while it is not; unset when every run rotates. */
  readonly overdueDays?: number;
  readonly durationMs: number;
  readonly steps: Readonly<Partial<Record<Step, number>>>;
  /** What was thrown, where it was not foreseen. */
  readonly cause?: unknown;
}

/** What the first step finds out about a secret. */
interface Found {
  readonly versions: readonly Version[];
  readonly newest: Version;
  /** The newest enabled version: the newest, unless somebody disabled or destroyed that. */
  readonly current: Version;
  readonly credential: Credential;
}

/** A credential that was issued and is in no version yet. */
export interface Unstored {
  readonly credential: Credential;
  readonly issuedAt: number;
  /** The version that it was issued from. */
  readonly issuedFrom: number;
  /** The newest version at that time. */
  readonly newest: number;
}

/** What all runs have in common. */
export interface RotatorOptions {
  readonly store: SecretStore;
  readonly issuer: Issuer;
  readonly policy: RenewalPolicy;
  readonly verify: boolean;
  readonly clock: Clock;
}

/** One run for one secret. */
export class Run {
  readonly #secret: SecretName;
  readonly #options: RunOptions;
  readonly #store: SecretStore;
  readonly #issuer: Issuer;
  readonly #policy: RenewalPolicy;
  readonly #verify: boolean;
  readonly #clock: Clock;
  readonly #unstored: Map<string, Unstored>;

  readonly #startedAt: number;
  readonly #steps: Partial<Record<Step, number>> = {};
  readonly #warnings = new Set<string>();
  readonly #result: Omit<RotationResult, 'outcome'>;
  #step: Step = 'gather';
  #keyFingerprint: string | undefined;
  /** The version that readers use as far as the run knows, and when its key expires, once that was read. */
  #readers: { readonly version: Version; readonly expiresAt?: number } | undefined;

  constructor(
    secret: SecretName,
    options: RunOptions,
    { store, issuer, policy, verify, clock }: RotatorOptions,
    unstored: Map<string, Unstored>,
  ) {
    this.#secret = secret;
    this.#options = options;
    this.#store = store;
    this.#issuer = issuer;
    this.#policy = policy;
    this.#verify = verify;
    this.#clock = clock;
    this.#unstored = unstored;
    this.#startedAt = clock.now();
    this.#result = { secret: secret.name };
  }

  async report(): Promise<RotationReport> {
    let outcome: Outcome;
    let error: RotationError | undefined;
    try {
      ({ outcome, error } = await this.#rotate());
    } catch (thrown) {
      outcome = 'failed';
      error = toRotationError(thrown);
    }
    return {
      result: {
        ...this.#result,
        outcome,
        ...(this.#warnings.size > 0 && { warnings: [...this.#warnings] }),
        ...(error && { error: errorReport(error, this.#step) }),
      },
      status: outcome === 'incomplete' ? 503 : (error?.status ?? 200),
      durationMs: this.#clock.now() - this.#startedAt,
      steps: this.#steps,
      ...this.#lateness(this.#clock.now()),
      ...(this.#keyFingerprint !== undefined && { keyFingerprint: this.#keyFingerprint }),
      ...(error?.code === 'INTERNAL' && { cause: error.cause }),
    };
  }

  /** How late the version that readers use is, as the run leaves it. */
  #lateness(now: number): Pick<RotationReport, 'keyAgeDays' | 'overdueDays'> {
    if (this.#readers === undefined) return {};
    const { version, expiresAt } = this.#readers;
    const since = (time: number) => days(Math.max(0, now - time));
    const keyAgeDays = since(version.createdAt);
    if (this.#policy.renewBefore === undefined || expiresAt === undefined) return { keyAgeDays };
    const due = renewalTime({ version, expiresAt }, this.#policy) ?? NaN;
    // A key that never expires is never due, and none has been due for longer than there has been its version.
    const overdueDays = Number.isFinite(due) ? since(Math.max(due, version.createdAt)) : 0;
    return { keyAgeDays, overdueDays };
  }

  async #rotate(): Promise<{ outcome: Outcome; error?: RotationError }> {
    if (this.#clock.now() > this.#options.deadline - ISSUE_RESERVE) throw outOfTime();
    const found = await this.#timed('gather', () => this.gather(this.#permissions()));
    this.#issuer.check(found.credential);
    const decision = this.#decide(found);
    this.#result.reason = decision.reason;
    if (this.#options.dryRun) return this.#describe(found, decision);
    if (!decision.rotate) return this.#converge(found, decision.outcome);

    const unstored = await this.#timed('issue', () => this.#issue(found));
    if (unstored === 'superseded') return { outcome: 'superseded' };

    const verdict = await this.#timed('verify', () => this.#verifyNew(unstored, found));
    if (verdict === 'superseded') return { outcome: 'superseded' };

    const added = await this.#timed('add', () => this.#add(unstored));
    if (added.number <= found.newest.number) {
      // Versions count from 1 again, so the secret was made anew, and nothing that was found belongs to it.
      this.#warnings.add(
        'the secret was deleted and made anew during the run; nothing was retired',
      );
      return { outcome: 'rotated' };
    }
    return this.#retire([...found.versions, added], verdict, 'rotated');
  }

  /** The state of the secret, in one round trip unless the answers contradict each other. */
  async gather(permissions: readonly Permission[]): Promise<Found> {
    const secret = this.#secret;
    const [latest, listed, missing] = await Promise.allSettled([
      this.#patiently(() => this.#store.access(secret, 'latest')),
      this.#patiently(() => this.#store.list(secret)),
      permissions.length === 0
        ? []
        : this.#patiently(() => this.#store.missingPermissions(secret, permissions)),
    ]);
    // Nobody has a permission on a secret that does not exist, so that has to be told first.
    const absent = [latest, listed].find(
      ({ status, reason }: { status: string; reason?: unknown }) =>
        status === 'rejected' && toRotationError(reason).code === 'SECRET_NOT_FOUND',
    );
    if (absent === undefined && settled(missing).length > 0) {
      throw permissionMissing(secret, settled(missing));
    }
    return this.#reconcile(settled(latest), settled(listed));
  }

  /**
   * Lists and `latest` are eventually consistent, so each may lag behind the other; access by number is not. What was
   * accessed is enabled, whatever a list says, and the newest version is the newest that either knows of.
   */
  async #reconcile(
    latest: { number: number; payload: Uint8Array } | undefined,
    listed: readonly Version[],
  ): Promise<Found> {
    const secret = this.#secret;
    let versions = [...listed];
    if (latest !== undefined) {
      const known = versions.find(({ number }) => number === latest.number);
      versions = [
        ...versions.filter((version) => version !== known),
        // A version that no list shows yet was created moments ago.
        {
          createdAt: this.#clock.now(),
          ...known,
          number: latest.number,
          state: 'ENABLED',
        },
      ];
    }
    if (versions.length === 0) {
      throw new RotationError(
        'NO_VERSION',
        `${secret.name} has no version, so its readers get nothing. Store the first credential (README, ` +
          "'Store the first credential').",
      );
    }
    for (;;) {
      const newest = newestVersion(versions);
      const current = newestEnabledVersion(versions);
      if (newest !== undefined) this.#result.version = String(newest.number);
      if (newest === undefined || current === undefined) {
        throw new RotationError(
          'NO_ENABLED_VERSION',
          `${secret.name} has no enabled version, so its readers get nothing. Enable the newest version that holds a ` +
            'good credential, or store a new one.',
        );
      }
      const accessed =
        current.number === latest?.number
          ? latest
          : await this.#patiently(() => this.#store.access(secret, current.number));
      if (accessed !== undefined) {
        if (current.number !== newest.number) {
          this.#warnings.add(
            `version ${newest.number} is the newest but ${newest.state.toLowerCase()}: readers of latest fail until a ` +
              `version is added; version ${current.number} is used instead`,
          );
        }
        this.#readers = { version: current };
        const credential = Credential.parse(accessed.payload);
        this.#readers = { version: current, expiresAt: credential.expiresAt };
        this.#keyFingerprint = credential.fingerprint;
        if (credential.expiresAt !== Infinity) {
          this.#result.expiresAt = isoTime(credential.expiresAt);
        }
        return { versions, newest, current, credential };
      }
      versions = versions.map((version) =>
        version === current ? { ...version, state: 'DISABLED' as const } : version,
      );
    }
  }

  #decide(found: Found): Decision {
    const { newest, current, credential } = found;
    const { scheduledAt, force } = this.#options;
    const unstored = this.#unstored.get(this.#secret.name);
    if (unstored?.newest === newest.number) {
      return { rotate: true, reason: 'an earlier run issued a key that is not stored yet' };
    }
    if (unstored !== undefined && !this.#options.dryRun) {
      this.#unstored.delete(this.#secret.name);
      if (unstored.credential.fingerprint !== credential.fingerprint) {
        this.#warnings.add(
          `a key that an earlier run could not store was dropped, because version ${newest.number} was added since`,
        );
      }
    }
    return decide(
      {
        newest,
        current: { version: current, expiresAt: credential.expiresAt },
        now: this.#clock.now(),
        force,
        ...(scheduledAt !== undefined && { scheduledAt }),
      },
      this.#policy,
    );
  }

  #describe(found: Found, decision: Decision): { outcome: Outcome } {
    const now = this.#clock.now();
    const versions = decision.rotate
      ? [
          ...found.versions,
          {
            ...found.newest,
            number: found.newest.number + 1,
            createdAt: now,
            state: 'ENABLED' as const,
            etag: 'new',
          },
        ]
      : found.versions;
    this.#result.reason = `${decision.rotate ? 'would rotate' : 'would not rotate'}: ${decision.reason}`;
    this.#result.disabled = numbers(versionsToRetire(versions, this.#policy, now));
    this.#result.destroyed = numbers(versionsToDestroy(versions, this.#policy, now));
    return { outcome: 'dry_run' };
  }

  async #issue(found: Found): Promise<Unstored | 'superseded'> {
    const kept = this.#unstored.get(this.#secret.name);
    if (kept !== undefined && (await this.#ask(kept.credential)) !== 'rejected') return kept;

    const latestStart = this.#options.deadline - ISSUE_RESERVE;
    if (this.#clock.now() > latestStart) throw outOfTime();
    const { credential } = found;
    const giveUpAt = Math.min(this.#clock.now() + ISSUE_PATIENCE, latestStart);
    let answerLost = false;
    const attempt = async (): Promise<Credential> => {
      try {
        return await this.#issuer.issue(credential);
      } catch (thrown) {
        const { code } = toRotationError(thrown);
        answerLost ||= code === 'MOMENTO_UNAVAILABLE' || code === 'ISSUED_CREDENTIAL_INVALID';
        throw thrown;
      }
    };
    try {
      const unstored = {
        credential: await retry(this.#clock, attempt, () => giveUpAt),
        issuedAt: this.#clock.now(),
        issuedFrom: found.current.number,
        newest: found.newest.number,
      };
      this.#unstored.set(this.#secret.name, unstored);
      return unstored;
    } catch (thrown) {
      const error = toRotationError(thrown);
      if (error.code !== 'REFRESH_REFUSED') throw error;
      if (await this.#isBeingSuperseded(found)) return 'superseded';
      // What is kept may be the last there will be: Momento may accept it yet.
      if (kept !== undefined) return kept;
      throw this.#refused(credential, answerLost, error);
    }
  }

  #refused(credential: Credential, answerLost: boolean, cause: RotationError): RotationError {
    const expiry = isoTime(credential.expiresAt);
    const remedy = `create a new API key with a refresh token in the Momento console and store it as a new version of ${this.#secret.name}`;
    if (credential.expiresAt <= this.#clock.now()) {
      return new RotationError(
        'KEY_EXPIRED',
        `The newest key expired at ${expiry} and Momento does not refresh an expired key. Readers are refused by Momento ` +
          `until somebody acts: ${remedy}, now.`,
        { cause },
      );
    }
    if (answerLost) {
      return new RotationError(
        'REFRESH_ANSWER_LOST',
        "Momento's answer to a refresh was lost on the way, and it refused the next try: the refresh token is probably " +
          `spent. Readers keep a working key until ${expiry}; before then, ${remedy}.`,
        { cause },
      );
    }
    return new RotationError(
      'REFRESH_REFUSED',
      `${cause.message} Readers keep the newest version, whose key expires at ${expiry}. No run can get past this: ` +
        `before then, ${remedy}.`,
      { cause },
    );
  }

  async #verifyNew(unstored: Unstored, found: Found): Promise<Verdict | 'superseded'> {
    const { credential, issuedAt } = unstored;
    const [verdict, superseded] = await Promise.all([
      this.#prove(credential, issuedAt),
      this.#isSuperseded(found),
    ]);
    if (superseded) {
      this.#unstored.delete(this.#secret.name);
      delete this.#result.verified;
      return 'superseded';
    }
    if (verdict === 'rejected') {
      throw new RotationError(
        'NEW_KEY_REJECTED',
        'Momento rejects the key that it issued, so it was not added. Readers keep the newest version, whose key expires at ' +
          `${isoTime(found.credential.expiresAt)}. This instance keeps the new key, and its next run asks about it again before it ` +
          'issues another one. If that fails too, ask Momento, and before the expiry store a key from the Momento console.',
      );
    }
    if (verdict === 'unclear' && this.#verify) {
      this.#warnings.add('Momento gave no clear answer about the new key; it was added unproved');
    }
    return verdict;
  }

  /** Whether somebody added a version since the secret was looked at. When in doubt it is not: nothing may be lost. */
  async #isSuperseded(found: Found): Promise<boolean> {
    try {
      const versions = await this.#patiently(
        () => this.#store.list(this.#secret),
        this.#options.deadline - ADD_RESERVE,
      );
      const newest = newestVersion(versions);
      if (newest === undefined || newest.number <= found.newest.number) return false;
      this.#result.version = String(newest.number);
      this.#result.reason = `version ${newest.number} was added by somebody else meanwhile`;
      this.#keyFingerprint = undefined;
      const readable = newestEnabledVersion(versions);
      this.#readers = readable && { version: readable };
      delete this.#result.expiresAt;
      return true;
    } catch (thrown) {
      const { code } = toRotationError(thrown);
      this.#warnings.add(`could not see whether a version was added meanwhile (${code})`);
      return false;
    }
  }

  /**
   * A refresh token may work only once, and then whoever was first with it has added its successor, or is about to.
   */
  async #isBeingSuperseded(found: Found): Promise<boolean> {
    const giveUpAt = this.#clock.now() + OTHER_RUN_PATIENCE;
    while (!(await this.#isSuperseded(found))) {
      if (this.#clock.now() >= giveUpAt) return false;
      await this.#clock.sleep(SECOND);
    }
    return true;
  }

  /** Asks Momento about a key until it gives a clear answer that the key's age leaves no doubt about. */
  async #prove(credential: Credential, issuedAt: number): Promise<Verdict> {
    if (!this.#verify) return 'unclear';
    const startedAt = this.#clock.now();
    for (let pause = 0.25 * SECOND; ; pause = Math.min(pause * 2, 2 * SECOND)) {
      const verdict = await this.#ask(credential);
      const giveUpAt =
        verdict === 'rejected' ? issuedAt + NEW_KEY_LAG : startedAt + VERIFY_PATIENCE;
      if (verdict === 'accepted' || this.#clock.now() + pause > giveUpAt) {
        this.#result.verified = verdict === 'accepted';
        return verdict;
      }
      await this.#clock.sleep(pause);
    }
  }

  /** Whatever goes wrong here says nothing about the key, which must not be lost for it. */
  async #ask(credential: Credential): Promise<Verdict> {
    return this.#verify ? this.#issuer.verify(credential).catch(() => 'unclear') : 'unclear';
  }

  async #add({ credential, issuedFrom, newest }: Unstored): Promise<Version> {
    const payload = credential.serialize();
    let mayBeStored = false;
    const attempt = async (): Promise<Version> => {
      const stored = mayBeStored ? await this.#findStored(payload, newest) : undefined;
      if (stored !== undefined) return stored;
      try {
        return await this.#store.add(this.#secret, payload);
      } catch (thrown) {
        // Also when the quota is said to be used up. What was refused for good is not tried again.
        mayBeStored = true;
        throw thrown;
      }
    };
    try {
      const latestStart = this.#options.deadline - ADD_RESERVE;
      const added = await retry(this.#clock, attempt, () => latestStart);
      this.#unstored.delete(this.#secret.name);
      this.#result.version = String(added.number);
      this.#result.previousVersion = String(issuedFrom);
      this.#result.expiresAt = isoTime(credential.expiresAt);
      this.#keyFingerprint = credential.fingerprint;
      this.#readers = { version: added, expiresAt: credential.expiresAt };
      return added;
    } catch (thrown) {
      const cause = toRotationError(thrown);
      throw new RotationError(
        'CREDENTIAL_NOT_STORED',
        `A new key was issued but could not be stored (${cause.code}: ${cause.message}). Readers get what they got before. ` +
          'This instance keeps the new key in memory and stores it in its next run: put right what is said above and ' +
          'run the job again at once, before the instance is stopped.',
        { cause },
      );
    }
  }

  /** The version with this payload, if the answer of an earlier try to add it was lost. A second copy would be harmless. */
  async #findStored(payload: Buffer, before: number): Promise<Version | undefined> {
    try {
      const newest = newestVersion(await this.#store.list(this.#secret));
      if (newest === undefined || newest.number <= before) return undefined;
      const accessed = await this.#store.access(this.#secret, newest.number);
      return accessed !== undefined && payload.equals(accessed.payload) ? newest : undefined;
    } catch {
      return undefined;
    }
  }

  /** Nothing is issued in this run; what earlier runs left to do is done. */
  async #converge(
    { versions, newest, credential }: Found,
    outcome: Outcome,
  ): Promise<{ outcome: Outcome; error?: RotationError }> {
    const now = this.#clock.now();
    const due =
      versionsToRetire(versions, this.#policy, now).length +
      versionsToDestroy(versions, this.#policy, now).length;
    if (due === 0) return { outcome };
    const verdict = await this.#timed('verify', () => this.#prove(credential, newest.createdAt));
    if (verdict === 'rejected') {
      throw new RotationError(
        'NEWEST_KEY_REJECTED',
        `Momento rejects the key of version ${newest.number}, which readers of latest get. Older versions were left as they ` +
          'are. Add a good credential as a new version: the payload of an older version that still works, or a new key ' +
          'from the Momento console.',
      );
    }
    return this.#retire(versions, verdict, outcome);
  }

  async #retire(
    versions: readonly Version[],
    verdict: Verdict,
    outcome: Outcome,
  ): Promise<{ outcome: Outcome; error?: RotationError }> {
    const now = this.#clock.now();
    const retire = versionsToRetire(versions, this.#policy, now);
    const destroy = versionsToDestroy(versions, this.#policy, now);
    if (retire.length + destroy.length === 0) return { outcome };
    if (this.#verify && verdict !== 'accepted') {
      this.#step = 'verify';
      return {
        outcome: 'incomplete',
        error: new RotationError(
          'VERIFY_INCONCLUSIVE',
          'Momento gave no clear answer about the newest key, so nothing older was disabled. Readers get the newest ' +
            'version. The next run asks again and goes on; if this persists, see whether Momento is up.',
        ),
      };
    }
    const errors = [
      await this.#each('retire', retire, (version) => this.#store.disable(this.#secret, version)),
      await this.#each('destroy', destroy, (version) => this.#store.destroy(this.#secret, version)),
    ];
    const failed = errors.find((failure) => failure !== undefined);
    if (failed === undefined) return { outcome };
    this.#step = failed.step;
    return { outcome: 'incomplete', error: failed.error };
  }

  /** Changes each version, all at once. What changed goes into the result; the first error, if any, comes back. */
  async #each(
    step: 'retire' | 'destroy',
    versions: readonly Version[],
    change: (version: Version) => Promise<boolean>,
  ): Promise<{ step: Step; error: RotationError } | undefined> {
    if (versions.length === 0) return undefined;
    const changed: Version[] = [];
    const outcomes = await this.#timed(step, () =>
      Promise.allSettled(
        versions.map(async (version) => {
          if (await this.#patiently(() => change(version))) changed.push(version);
          else {
            this.#warnings.add(
              `version ${version.number} changed during the run (by somebody, or by a try whose answer was lost); the next run looks again`,
            );
          }
        }),
      ),
    );
    this.#result[step === 'retire' ? 'disabled' : 'destroyed'] = numbers(changed);
    const failure = outcomes.find((outcome) => outcome.status === 'rejected');
    return failure && { step, error: toRotationError(failure.reason) };
  }

  #permissions(): Permission[] {
    return [
      'secretmanager.versions.access',
      'secretmanager.versions.list',
      'secretmanager.versions.add',
      'secretmanager.versions.disable',
      ...(this.#policy.destroyAfterMs === undefined
        ? []
        : (['secretmanager.versions.destroy'] as const)),
    ];
  }

  /**
   * Tries a call to Secret Manager again while it fails for a passing reason. A quota is full for up to a minute, and
   * many secrets may wait for it, so that alone is waited for as long as the run may last.
   */
  #patiently<T>(call: () => Promise<T>, latest = this.#options.deadline): Promise<T> {
    const giveUpAt = Math.min(this.#clock.now() + STORE_PATIENCE, latest);
    return retry(this.#clock, call, ({ code }) =>
      code === 'SECRET_MANAGER_QUOTA_EXCEEDED' ? latest : giveUpAt,
    );
  }

  async #timed<T>(step: Step, action: () => Promise<T>): Promise<T> {
    this.#step = step;
    const startedAt = this.#clock.now();
    try {
      return await action();
    } finally {
      this.#steps[step] = this.#clock.now() - startedAt;
    }
  }
}

function outOfTime(): RotationError {
  return new RotationError(
    'DEADLINE_EXCEEDED',
    'There was not enough time left to issue a new key and to store it, so none was issued. Readers keep the newest ' +
      "version. The next run goes on; if this happens in every run, raise the function's timeout or name fewer secrets " +
      'in each job.',
  );
}

/** What the answer tells of an error. */
export function errorReport(
  error: RotationError,
  step: Step,
): NonNullable<RotationResult['error']> {
  const { code, message, retryable } = error;
  return { code, step, message, retryable };
}

function settled<T>(result: PromiseSettledResult<T>): T {
  if (result.status === 'rejected') throw result.reason;
  return result.value;
}

function numbers(versions: readonly Version[]): string[] {
  return versions.map(({ number }) => String(number));
}

/** RFC 3339, in UTC. */
export function isoTime(epochMs: number): string {
  return new Date(epochMs).toISOString();
}

/** Days until a key expires, for people: one decimal. */
export function daysLeft(expiresAt: string, now: number): number {
  return days(Date.parse(expiresAt) - now);
}

function days(ms: number): number {
  return Math.round((ms / DAY) * 10) / 10;
}
