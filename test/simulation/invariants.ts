/**
 * The invariants of one secret, which hold at every moment, whatever fails. Violations name the numbers:
 *
 *  1. An application that reads `latest` gets an enabled version whose key Momento accepts.
 *  2. The newest version is never disabled or destroyed.
 *  3. No run disables a version that an operator added after the run had inspected the secret.
 *  4. When faults stop, one more run leaves only the newest version enabled, beside versions in their grace period. The
 *     newest key works and can be renewed. If the answer to a single-use refresh token was lost for good, that run fails with
 *     an error that reports the loss.
 *  5. No answer and no log line contains a secret.
 *  6. Every run ends with an answer, in time.
 *
 *  7 to 9, about v2 keys, are in key-invariants.ts.
 * 10. No run disables a version before its grace period is over.
 * 11. No run repeats an addition that had its effect: no two versions contain the same key.
 *
 * The rotator isn't responsible for damage by an operator (an invalid payload, a disabled newest version) until it is
 * repaired.
 */
import type { MomentoEmulator } from '../../emulators/momento';
import type { SecretManagerEmulator, VersionView } from '../../emulators/secret-manager';
import { leaks } from '../leaks';
import { readPayload, type StoredKey } from './keys';

/** The end of a run, as its caller sees it. */
export interface Ending {
  readonly status: number;
  readonly outcome: string;
  readonly code: string | undefined;
  /** Everything that the run wrote: its answer and its log lines. */
  readonly written: readonly string[];
}

interface KnownVersion {
  readonly state: VersionView['state'];
  readonly scheduledDestroyTime: number | undefined;
  /** Runs that had inspected the secret, and not ended, when an operator added this version; unset if a run added it. */
  readonly runsBefore: ReadonlySet<symbol> | undefined;
}

/** The codes of a run whose refresh token was used, and whose new key was lost. */
const LOSS_CODES: ReadonlySet<string | undefined> = new Set([
  'REFRESH_REFUSED',
  'REFRESH_ANSWER_LOST',
  'ISSUED_CREDENTIAL_INVALID',
]);

export interface Watch {
  readonly secretManager: SecretManagerEmulator;
  readonly momento: MomentoEmulator;
  /** A secret whose newest version contains a good credential. */
  readonly secret: string;
  /** Secret fields of the payload, besides keys and refresh tokens. */
  readonly notes?: readonly string[];
  /** The reason if applications have no working key at the start. */
  readonly excuse?: string;
  readonly graceMs?: number;
  /** Whether grace periods are checked. A wrong clock of the function can shorten a grace period. */
  readonly isClockRight?: boolean;
  /** Returns why a credential isn't acceptable in the end. By default it must be a v1 key that can be refreshed. */
  readonly lastRefused?: (credential: StoredKey) => string | undefined;
}

/** Watches one secret: checks every change of state at either service. */
export class Invariants {
  /** The violations, in the order in which they happened. */
  readonly violations: string[] = [];
  /** How many changes of state were checked. */
  changes = 0;
  /** How many of the checked changes changed the versions or their states. */
  changesOfVersions = 0;

  readonly #secretManager: SecretManagerEmulator;
  readonly #momento: MomentoEmulator;
  readonly #secret: string;
  readonly #running = new Set<symbol>();
  readonly #unlisten: (() => void)[];
  readonly #written: string[] = [];
  readonly #notes: readonly string[];
  readonly #graceMs: number;
  readonly #isClockRight: boolean;
  readonly #lastRefused: (credential: StoredKey) => string | undefined;
  #known = new Map<string, KnownVersion>();
  #isOperator = false;
  /** The reason why applications can be without a working key, such as an operator action. */
  #excuse: string | undefined;

  constructor({ secretManager, momento, secret, notes = [], graceMs = 0, ...watch }: Watch) {
    this.#secretManager = secretManager;
    this.#momento = momento;
    this.#secret = secret;
    this.#notes = notes;
    this.#graceMs = graceMs;
    this.#isClockRight = watch.isClockRight ?? true;
    this.#excuse = watch.excuse;
    this.#lastRefused =
      watch.lastRefused ??
      (({ apiKey, refreshToken = '' }) =>
        momento.acceptsRefresh(apiKey, refreshToken) ? undefined : "can't be refreshed");
    this.#known = this.#snapshot();
    this.#checkApplications('at the start');
    this.#unlisten = [
      secretManager.onChange(() => this.#check()),
      momento.onChange(() => this.#check()),
    ];
  }

  /** Ends the watch. */
  stop(): void {
    for (const unlisten of this.#unlisten) unlisten();
  }

  /** Whether the present change is an operator action. */
  get isOperatorActing(): boolean {
    return this.#isOperator;
  }

  /** Acts at either service as an operator. */
  operator(action: () => void): void {
    this.#isOperator = true;
    try {
      action();
    } finally {
      this.#isOperator = false;
    }
    if (this.#failure() !== undefined) this.#excuse = 'of an operator action';
  }

  /** Allows that applications have no working key until they have one again, for instance because a key expired. */
  excuse(why: string): void {
    this.#excuse = why;
  }

  /** To be called when a run has inspected the secret. Call the returned function when the run ends. */
  runInspected(): () => void {
    const run = Symbol('run');
    this.#running.add(run);
    return () => this.#running.delete(run);
  }

  /** Checks invariants 1 and 6 at the end of a run, and records the written texts for invariant 5. */
  ends(ending: Ending, lateMs: number): void {
    this.#written.push(...ending.written);
    if (lateMs > 0) this.violated(6, `the run ended ${Math.round(lateMs)} ms too late`);
    this.#checkApplications(`after a run that was ${ending.outcome}`);
  }

  /** Checks invariant 5 for the answers and log lines of all runs so far. */
  checkWritten(): void {
    const secrets = [...this.#momento.secrets(), ...this.#notes];
    for (const leak of leaks(secrets, [this.#written.join('\n')])) this.violated(5, leak);
  }

  /**
   * Checks invariant 4 after the last run, which had no faults.
   *
   * @param lost whether the answer to a used refresh token might have been lost
   */
  checkLastRun({ outcome, code, status, written }: Ending, lost: boolean): void {
    const [newest, ...older] = this.#secretManager.versions(this.#secret);
    const credential = newest?.payload && readPayload(newest.payload);
    const refused = credential === undefined ? "can't be read" : this.#lastRefused(credential);
    if (lost && refused !== undefined) {
      const isLoud = outcome === 'failed' && status >= 500 && LOSS_CODES.has(code);
      const isLogged = written.some((text) => text.includes('"severity":"ERROR"'));
      if (!isLoud || !isLogged) {
        this.violated(4, `the token was used, and the run is ${outcome} ${code ?? ''}`);
      }
      return;
    }
    const end = `${outcome} ${code ?? ''}`.trim();
    if (status !== 200) this.violated(4, `the run without faults is ${end}`);
    if (newest?.state !== 'ENABLED') this.violated(4, `the newest is ${newest?.state ?? 'gone'}`);
    const left = older
      .filter(({ version, state }) => state === 'ENABLED' && this.#isGraceOver(version))
      .map(({ version }) => version);
    if (left.length > 0) this.violated(4, `still enabled after ${end}: ${left.join(', ')}`);
    if (refused !== undefined) this.violated(4, `the newest credential ${refused} after ${end}`);
  }

  /** Checks invariant 11: no run stored its key twice. Don't use it if an operator stores an old payload again in the case. */
  checkCopies(): void {
    const versions = new Map<string, string>();
    for (const { version, payload } of this.#secretManager.versions(this.#secret).toReversed()) {
      const text = payload?.toString() ?? version;
      const copied = versions.get(text);
      if (copied !== undefined) this.violated(11, `${copied} and ${version} contain the same key`);
      versions.set(text, version);
    }
  }

  /** Reports a violation. */
  violated(invariant: number, what: string): void {
    this.violations.push(`invariant ${invariant}: ${what}`);
  }

  #check(): void {
    this.changes += 1;
    const before = this.#known;
    this.#known = this.#snapshot();
    const states = (versions: typeof before) => [...versions.values()].map(({ state }) => state);
    if (states(before).join() !== states(this.#known).join()) this.changesOfVersions += 1;
    const newest = [...this.#known.keys()].at(0);
    for (const [version, { state, scheduledDestroyTime, runsBefore }] of this.#known) {
      const was = before.get(version);
      const isChanged =
        was !== undefined &&
        ((was.state === 'ENABLED' && state !== 'ENABLED') ||
          (was.state !== 'DESTROYED' && state === 'DESTROYED') ||
          (was.scheduledDestroyTime === undefined && scheduledDestroyTime !== undefined));
      if (!isChanged || this.#isOperator) continue;
      if (version === newest) this.violated(2, `the newest, ${version}, became ${state}`);
      if (was.state === 'ENABLED' && runsBefore !== undefined && this.#allAmong(runsBefore)) {
        this.violated(3, `${version}, which an operator added meanwhile, became ${state}`);
      }
      if (this.#isClockRight && was.state === 'ENABLED' && !this.#isGraceOver(version)) {
        this.violated(10, `${version} became ${state} in its grace period`);
      }
    }
    this.#checkApplications('after a change');
  }

  /** Whether the grace period of a superseded version is over. */
  #isGraceOver(version: string): boolean {
    const successor = this.#secretManager
      .versions(this.#secret)
      .findLast((other) => Number(other.version) > Number(version));
    return this.#secretManager.now() - (successor?.createTime ?? 0) >= this.#graceMs;
  }

  #allAmong(runsBefore: ReadonlySet<symbol>): boolean {
    return this.#running.size > 0 && [...this.#running].every((run) => runsBefore.has(run));
  }

  #checkApplications(when: string): void {
    const failure = this.#failure();
    if (failure === undefined) this.#excuse = undefined;
    else if (this.#excuse === undefined && !this.#isOperator) {
      this.violated(1, `${failure}, ${when}`);
      // Report only one violation until applications have a working key again.
      this.#excuse = failure;
    }
  }

  #failure(): string | undefined {
    const payload = this.#secretManager.latest(this.#secret);
    if (payload === undefined) return 'applications get an error';
    const credential = readPayload(payload);
    if (credential === undefined) return 'applications get no credential';
    return this.#momento.accepts(credential.apiKey)
      ? undefined
      : 'applications get a key that Momento rejects';
  }

  #snapshot(): Map<string, KnownVersion> {
    return new Map(
      this.#secretManager
        .versions(this.#secret)
        .map(({ version, state, scheduledDestroyTime }) => [
          version,
          { state, scheduledDestroyTime, runsBefore: this.#runsBefore(version) },
        ]),
    );
  }

  #runsBefore(version: string): ReadonlySet<symbol> | undefined {
    const known = this.#known.get(version);
    if (known !== undefined) return known.runsBefore;
    return this.#isOperator ? new Set(this.#running) : undefined;
  }
}
