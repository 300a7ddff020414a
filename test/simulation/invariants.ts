/**
 * What has to be true of one secret at every moment, whatever fails. The numbers are used in what a violation says:
 *
 *  1. A reader of `latest` gets an enabled version whose key Momento accepts.
 *  2. The newest version is never disabled or destroyed.
 *  3. No version that a person added is disabled by a run that had looked at the secret before it was there.
 *  4. When faults stop, one more run ends with exactly one enabled version beside those in their grace period, the newest,
 *     whose key works and can be renewed; if a single-use refresh token's answer was lost for good, that run says so and
 *     readers keep a working key.
 *  5. Nothing secret is written anywhere.
 *  6. Every run ends with an answer, in time.
 *
 * 7 to 9, about v2 keys, are in key-invariants.ts. And
 *
 * 10. No version is disabled by a run before its grace period is over.
 *
 * What a person breaks (a bad credential stored, the newest version disabled) is not held against the rotator until it is
 * good again.
 */
import type { MomentoEmulator } from '../../emulators/momento';
import type { SecretManagerEmulator, VersionView } from '../../emulators/secret-manager';
import { leaks } from '../leaks';
import { readPayload, type Read } from './payloads';

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
  /** Runs that had looked, and not ended, when a person added this version; unset for a version that a run added. */
  readonly runsBefore: ReadonlySet<symbol> | undefined;
}

/** The codes with which a run may say that a refresh token is spent and its successor lost. */
const LOSS_CODES: ReadonlySet<string | undefined> = new Set([
  'REFRESH_REFUSED',
  'REFRESH_ANSWER_LOST',
  'ISSUED_CREDENTIAL_INVALID',
]);

export interface Watch {
  readonly secretManager: SecretManagerEmulator;
  readonly momento: MomentoEmulator;
  /** A secret whose newest version holds a good credential. */
  readonly secret: string;
  /** What is in its payload and secret beside keys and refresh tokens. */
  readonly notes?: readonly string[];
  /** Why readers have no working key at the start, if so. */
  readonly excuse?: string;
  readonly graceMs?: number;
  /** A clock that is wrong shortens the grace period. */
  readonly isClockRight?: boolean;
  /** Why a credential cannot be the last one, if so; by default it has to be one that v1 keys are refreshed with. */
  readonly lastRefused?: (credential: Read) => string | undefined;
}

/** Watches one secret: judges every change of state in either service from the moment of its making. */
export class Invariants {
  /** What was violated, in the order in which it happened. */
  readonly violations: string[] = [];
  /** How many changes of state were judged. */
  changes = 0;
  /** How many of them were changes of the secret's versions. */
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
  readonly #lastRefused: (credential: Read) => string | undefined;
  #known = new Map<string, KnownVersion>();
  #isPerson = false;
  /** Why readers may be without a working key; set by what a person did. */
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
        momento.acceptsRefresh(apiKey, refreshToken) ? undefined : 'cannot be refreshed');
    this.#known = this.#snapshot();
    this.#judgeReaders('at the start');
    this.#unlisten = [
      secretManager.onChange(() => this.#judge()),
      momento.onChange(() => this.#judge()),
    ];
  }

  /** Ends the watch. */
  stop(): void {
    for (const unlisten of this.#unlisten) unlisten();
  }

  /** Whether what changes now is what a person does. */
  get isPersonActing(): boolean {
    return this.#isPerson;
  }

  /** Does what a person does at either service. */
  person(action: () => void): void {
    this.#isPerson = true;
    try {
      action();
    } finally {
      this.#isPerson = false;
    }
    if (this.#readersFailBecause() !== undefined) this.#excuse = 'a person did it';
  }

  /** Lets readers be without a working key until they have one again: for time that does what no fault does. */
  excuse(why: string): void {
    this.#excuse = why;
  }

  /** To be called when a run has looked at the secret; what it returns, when the run ended. */
  runLooked(): () => void {
    const run = Symbol('run');
    this.#running.add(run);
    return () => this.#running.delete(run);
  }

  /** Judges the end of a run: 1 (time has passed), 5, and 6. */
  ends(ending: Ending, lateMs: number): void {
    this.#written.push(...ending.written);
    if (lateMs > 0) this.violated(6, `the run ended ${Math.round(lateMs)} ms too late`);
    this.#judgeReaders(`after a run that was ${ending.outcome}`);
  }

  /** Judges what was written in all runs so far: 5. */
  judgeWritten(): void {
    const secrets = [...this.#momento.secrets(), ...this.#notes];
    for (const leak of leaks(secrets, [this.#written.join('\n')])) this.violated(5, leak);
  }

  /**
   * Judges the last run, which met no fault: 4.
   *
   * @param lost whether a refresh token may have been spent for an answer that nobody has
   */
  judgeLastRun({ outcome, code, status, written }: Ending, lost: boolean): void {
    const [newest, ...older] = this.#secretManager.versions(this.#secret);
    const credential = newest?.payload && readPayload(newest.payload);
    const refused = credential === undefined ? 'is none' : this.#lastRefused(credential);
    if (lost && refused !== undefined) {
      const isLoud = outcome === 'failed' && status >= 500 && LOSS_CODES.has(code);
      const isLogged = written.some((text) => text.includes('"severity":"ERROR"'));
      if (!isLoud || !isLogged) {
        this.violated(4, `the token is spent, and the run says ${outcome} ${code ?? ''}`);
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

  /** Notes that something was broken. */
  violated(invariant: number, what: string): void {
    this.violations.push(`invariant ${invariant}: ${what}`);
  }

  #judge(): void {
    this.changes += 1;
    const before = this.#known;
    this.#known = this.#snapshot();
    const states = (versions: typeof before) => [...versions.values()].map(({ state }) => state);
    if (states(before).join() !== states(this.#known).join()) this.changesOfVersions += 1;
    const newest = [...this.#known.keys()].at(0);
    for (const [version, { state, scheduledDestroyTime, runsBefore }] of this.#known) {
      const was = before.get(version);
      const isStruck =
        was !== undefined &&
        ((was.state === 'ENABLED' && state !== 'ENABLED') ||
          (was.state !== 'DESTROYED' && state === 'DESTROYED') ||
          (was.scheduledDestroyTime === undefined && scheduledDestroyTime !== undefined));
      if (!isStruck || this.#isPerson) continue;
      if (version === newest) this.violated(2, `the newest, ${version}, became ${state}`);
      if (was.state === 'ENABLED' && runsBefore !== undefined && this.#allAmong(runsBefore)) {
        this.violated(3, `${version}, which a person added meanwhile, became ${state}`);
      }
      if (this.#isClockRight && was.state === 'ENABLED' && !this.#isGraceOver(version)) {
        this.violated(10, `${version} became ${state} in its grace period`);
      }
    }
    this.#judgeReaders('after a change');
  }

  /** Whether a version, which is not the newest, was superseded longer ago than the grace period. */
  #isGraceOver(version: string): boolean {
    const successor = this.#secretManager
      .versions(this.#secret)
      .findLast((other) => Number(other.version) > Number(version));
    return this.#secretManager.now() - (successor?.createTime ?? 0) >= this.#graceMs;
  }

  #allAmong(runsBefore: ReadonlySet<symbol>): boolean {
    return this.#running.size > 0 && [...this.#running].every((run) => runsBefore.has(run));
  }

  #judgeReaders(when: string): void {
    const failure = this.#readersFailBecause();
    if (failure === undefined) this.#excuse = undefined;
    else if (this.#excuse === undefined && !this.#isPerson) {
      this.violated(1, `${failure}, ${when}`);
      // Said once: it is one violation until readers are served again.
      this.#excuse = failure;
    }
  }

  #readersFailBecause(): string | undefined {
    const payload = this.#secretManager.latest(this.#secret);
    if (payload === undefined) return 'readers of latest get an error';
    const credential = readPayload(payload);
    if (credential === undefined) return 'readers of latest get no credential';
    return this.#momento.accepts(credential.apiKey)
      ? undefined
      : 'readers of latest get a key that Momento rejects';
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
    return this.#isPerson ? new Set(this.#running) : undefined;
  }
}
