/** Many versions, many keys or many secrets, one instance of the function, and a meter at each service. */
import type { Call, Fault, FaultPlan, Moment } from '../../emulators/faults';
import { KeyApiEmulator } from '../../emulators/key-api';
import { MomentoEmulator } from '../../emulators/momento';
import { SecretManagerEmulator } from '../../emulators/secret-manager';
import { VirtualClock } from '../virtual-clock';
import { ago, mint, ROLE, LIFETIME_MS } from './beginnings';
import { deploy, type Deployment, type DeployOptions } from './deploy';
import { ours } from './key-invariants';
import { keyIn, mintedPayload, readPayload } from './payloads';
import { call, DAY, HOUR, SECOND } from './stage';

export const TIMEOUT_MS = 540 * SECOND;

/** How long a service takes to answer. */
const LATENCY_MS = 20;

const WRITES: readonly string[] = [
  'AddSecretVersion',
  'DisableSecretVersion',
  'DestroySecretVersion',
];

/** What a service saw of one run. Times are since its start. */
export class Meter {
  readonly begins = new Map<string, number[]>();
  mostInFlight = 0;
  #inFlight = 0;

  count(...methods: string[]): number {
    return methods.reduce((sum, method) => sum + (this.begins.get(method)?.length ?? 0), 0);
  }

  get writes(): number {
    return this.count(...WRITES);
  }

  /** The largest number of calls of some methods, or of all, that began within one second. */
  mostPerSecond(...methods: string[]): number {
    const times = this.#times(methods).sort((a, b) => a - b);
    let most = 0;
    let first = 0;
    for (const [index, time] of times.entries()) {
      while ((times[first] ?? time) <= time - SECOND) first += 1;
      most = Math.max(most, index - first + 1);
    }
    return most;
  }

  /** When the last call of some methods, or of all, began; -Infinity if there was none. */
  last(...methods: string[]): number {
    return this.#times(methods).reduce((last, time) => Math.max(last, time), -Infinity);
  }

  begin(method: string, at: number): void {
    const times = this.begins.get(method) ?? [];
    times.push(at);
    this.begins.set(method, times);
    this.#inFlight += 1;
    this.mostInFlight = Math.max(this.mostInFlight, this.#inFlight);
  }

  end(): void {
    this.#inFlight -= 1;
  }

  #times(methods: readonly string[]): number[] {
    const chosen = methods.length > 0 ? methods : [...this.begins.keys()];
    return chosen.flatMap((method) => this.begins.get(method) ?? []);
  }
}

/** What a result says, as far as the cases look at it. */
export interface Result {
  readonly secret: string;
  readonly outcome: string;
  readonly error?: { readonly code: string };
  readonly warnings?: readonly string[];
}

export interface Measured {
  readonly status: number;
  readonly results: readonly Result[];
  readonly durationMs: number;
  readonly secretManager: Meter;
  readonly keyApi: Meter;
}

export class ScaleBed {
  readonly clock = new VirtualClock();
  /** What isn't to be, and was. */
  readonly violations: string[] = [];
  /** Decides about calls, by service and method. */
  strike: ((call: Call, when: Moment) => Fault | undefined) | undefined;

  readonly #names: string[] = [];
  #stopWatching = (): void => undefined;
  #deployment: Deployment | undefined;

  private constructor(
    readonly secretManager: SecretManagerEmulator,
    readonly momento: MomentoEmulator,
    readonly keyApi: KeyApiEmulator,
  ) {
    secretManager.now = momento.now = this.clock.now;
    keyApi.callsPerSecond = 5;
  }

  static async open(): Promise<ScaleBed> {
    const momento = await MomentoEmulator.start();
    const [secretManager, keyApi] = await Promise.all([
      SecretManagerEmulator.start(),
      KeyApiEmulator.start({ account: momento.account }),
    ]);
    return new ScaleBed(secretManager, momento, keyApi);
  }

  async close(): Promise<readonly string[]> {
    this.#stopWatching();
    await Promise.all([this.secretManager.stop(), this.momento.stop(), this.keyApi.stop()]);
    return this.violations;
  }

  /** A secret whose v1 key has a day left. Its older versions all hold the same key, and are enabled. */
  v1Secret(name: string, olderVersions = 1): void {
    this.#secret(name, olderVersions, (lifeLeftMs) => {
      const lifetimeSeconds = (lifeLeftMs + 29 * DAY) / SECOND;
      return this.momento.issueKey({ lifetimeSeconds }).consoleJson;
    });
  }

  /** A secret whose key was minted and has `lifeLeftMs` left, and orphaned keys with its description. */
  mintedSecret(
    name: string,
    { olderVersions = 1, orphans = 0, lifeLeftMs = DAY, role = ROLE } = {},
  ): void {
    const minted = (ms: number): string =>
      mintedPayload(mint(this.momento, name, ms, { role }), 'api', 'note');
    this.#secret(name, olderVersions, minted, lifeLeftMs);
    ago(this.momento, DAY, () => {
      for (let n = 0; n < orphans; n += 1) mint(this.momento, name);
    });
  }

  /** With older versions, so that a stale read finds one that works. */
  managementKey(name: string): void {
    this.mintedSecret(name, { olderVersions: 50, role: 'r-operator', lifeLeftMs: LIFETIME_MS });
  }

  deploy(options: Omit<DeployOptions, 'clock' | 'emulators' | 'timeoutMs'>): void {
    const { secretManager, momento, keyApi, clock } = this;
    const emulators = { secretManager, momento, keyApi };
    this.#deployment = deploy({ ...options, clock, emulators, timeoutMs: TIMEOUT_MS });
    const listening = [
      secretManager.onChange(() => this.#verifyBeforeRun()),
      momento.onChange(() => this.#verifyBeforeRun()),
    ];
    this.#stopWatching = () => {
      for (const stop of listening) stop();
    };
  }

  /** One run of all secrets. */
  async run(): Promise<Measured> {
    const startedAt = this.clock.monotonic();
    const [secretManager, keyApi] = [new Meter(), new Meter()];
    const meter = (plan: FaultPlan, at: Meter): void => {
      plan.intercept = async (received, when) => {
        if (when === 'before') {
          at.begin(received.method, this.clock.monotonic() - startedAt);
          await this.clock.sleep(LATENCY_MS);
        } else at.end();
        const fault = this.strike?.(received, when);
        if (fault !== undefined && when === 'before') at.end();
        return fault;
      };
    };
    meter(this.secretManager.faults, secretManager);
    meter(this.keyApi.faults, keyApi);
    if (this.#deployment === undefined) throw new Error('nothing was deployed');
    const reply = await call(this.#deployment.handler);
    const durationMs = this.clock.monotonic() - startedAt;
    const { results } = reply.body as { results: Result[] };
    this.#judgeReferences();
    return { status: reply.status, results, durationMs, secretManager, keyApi };
  }

  /** How many live keys have a secret's description and are in none of its versions that can be read. */
  orphansOf(name: string): number {
    const held = this.secretManager
      .versions(name)
      .flatMap(({ payload }) => (payload && keyIn(payload)) ?? []);
    return this.momento.account.orphans(ours(name), held).length;
  }

  /** The newest version must contain a v1 key whose refresh token wasn't used. */
  expectRefreshable(name: string): void {
    const payload = this.secretManager.latest(name);
    const read = payload && readPayload(payload);
    const isRefreshable = read && this.momento.acceptsRefresh(read.apiKey, read.refreshToken ?? '');
    this.expect(isRefreshable === true, `the newest credential of ${name} can't be refreshed`);
  }

  /** Notes a violation unless `bound` holds. */
  expect(bound: boolean, otherwise: string): void {
    if (!bound) this.violations.push(otherwise);
  }

  /** The bounds of every run, whatever its size. */
  expectBounds({ durationMs, secretManager, keyApi }: Measured): void {
    const end = TIMEOUT_MS - 15 * SECOND;
    this.expect(durationMs <= end, `the run took ${durationMs / SECOND} s`);
    const { mostInFlight } = secretManager;
    this.expect(mostInFlight <= 32, `${mostInFlight} calls were in flight`);
    const writes = secretManager.mostPerSecond(...WRITES);
    this.expect(writes <= 8, `${writes} writes in a second`);
    const calls = keyApi.mostPerSecond();
    this.expect(calls <= 5, `${calls} calls of the key API in a second`);
    for (const meter of [secretManager, keyApi]) {
      this.expect(meter.last() <= end, `a call began at ${meter.last() / SECOND} s`);
    }
  }

  #secret(
    name: string,
    olderVersions: number,
    payload: (lifeLeftMs: number) => string,
    lifeLeftMs = DAY,
  ): void {
    const { secretManager, momento, clock } = this;
    this.#names.push(name);
    secretManager.createSecret(name);
    // Its refresh token has been used for the next key.
    const older = ago(momento, 29 * DAY + HOUR, () => payload(LIFETIME_MS + DAY)).replace(
      /("refreshToken":")[^"]+/,
      '$1used',
    );
    for (let n = olderVersions; n > 0; n -= 1) {
      secretManager.addVersion(name, older, { createTime: clock.now() - 29 * DAY - n * HOUR });
    }
    const newest = ago(momento, 29 * DAY, () => payload(lifeLeftMs + 29 * DAY));
    secretManager.addVersion(name, newest, { createTime: clock.now() - 29 * DAY });
  }

  /** Applications get a key that works, at every moment. */
  #verifyBeforeRun(): void {
    for (const name of this.#names.slice(0, 4)) {
      // The newest version itself: what a stale read shows is another question.
      const [newest] = this.secretManager.versions(name);
      const isEnabled = newest?.state === 'ENABLED';
      const key = isEnabled && newest.payload ? keyIn(newest.payload) : undefined;
      if (key === undefined || !this.momento.accepts(key)) {
        this.violations.push(`applications have no working key of ${name}`);
      }
    }
  }

  #judgeReferences(): void {
    const { account } = this.momento;
    for (const name of this.#names) {
      const revoked = this.secretManager
        .versions(name)
        .filter(({ state }) => state === 'ENABLED')
        .filter(({ payload }) => account.find(keyIn(payload ?? Buffer.of()) ?? '')?.revoked);
      this.expect(revoked.length === 0, `${revoked.length} enabled versions hold revoked keys`);
    }
  }
}
