/** Many versions, many keys, many secrets: all work is bounded, and no secret waits for a service that it doesn't need. */
import { status } from '@grpc/grpc-js';
import { DAY, HOUR, MINUTE, SECOND } from '../../src/duration';
import { MomentoKeys } from '../../src/momento/issuer';
import type { RenewalPolicy } from '../../src/rotation/policy';
import type { Secret } from '../../src/rotation/ports';
import { SecretManagerStore } from '../../src/secret-manager/store';
import type { Call, Fault, FaultPlan, Moment } from '../../emulators/faults';
import { startServices, type Services } from '../../emulators/services';
import { VirtualClock } from '../virtual-clock';
import { ago, descriptionOf, keyIn, mint, mintedPayload, readPayload, TERMS } from './keys';
import type { Case, Group } from './simulation';
import { deploy, post, secretName, TIMEOUT_MS, type Instance } from './test-bed';

/** How long a service takes to answer. */
const LATENCY_MS = 20;

const WRITES: readonly string[] = [
  'AddSecretVersion',
  'DisableSecretVersion',
  'DestroySecretVersion',
];

/** The calls that a service got in one run. Times are relative to the start of the run. */
class Meter {
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

/** The fields of a result that the cases check. */
interface Result {
  readonly secret: string;
  readonly outcome: string;
  readonly error?: { readonly code: string };
  readonly warnings?: readonly string[];
  readonly contained?: boolean;
}

interface Measured {
  readonly status: number;
  readonly results: readonly Result[];
  readonly durationMs: number;
  readonly secretManager: Meter;
  readonly keyApi: Meter;
}

interface ScaleDeployment {
  readonly secrets: readonly (Partial<Secret> & { readonly name: string })[];
  readonly managementKey?: string;
  readonly policy?: Partial<RenewalPolicy>;
}

/** Many secrets, one instance of the function, and a meter at each service. */
class ScaleBed {
  readonly violations: string[] = [];
  /** Returns faults for calls. */
  onCall: ((call: Call, when: Moment) => Fault | undefined) | undefined;

  readonly #names: string[] = [];
  #stopWatching = (): void => undefined;
  #instance: Instance | undefined;

  private constructor(
    readonly services: Services,
    readonly clock: VirtualClock,
  ) {
    services.keyApi.callsPerSecond = 5;
  }

  static async open(): Promise<ScaleBed> {
    const clock = new VirtualClock();
    return new ScaleBed(await startServices(clock), clock);
  }

  get secretManager(): Services['secretManager'] {
    return this.services.secretManager;
  }

  get momento(): Services['momento'] {
    return this.services.momento;
  }

  async close(): Promise<void> {
    this.#stopWatching();
    await this.services.stop();
  }

  /** Adds a secret whose v1 key has a day left. All older versions are enabled and contain the same old key. */
  v1Secret(name: string, olderVersions = 1): void {
    this.#secret(name, olderVersions, (lifeLeftMs) => {
      const lifetimeSeconds = (lifeLeftMs + 29 * DAY) / SECOND;
      return this.momento.issueKey({ lifetimeSeconds }).consoleJson;
    });
  }

  /** Adds a secret with a minted key that has `lifeLeftMs` left, and orphaned keys with the secret's description. */
  mintedSecret(
    name: string,
    { olderVersions = 1, orphans = 0, lifeLeftMs = DAY, role = TERMS.role } = {},
  ): void {
    const minted = (ms: number): string =>
      mintedPayload(mint(this.momento, name, ms, role), 'api', 'note');
    this.#secret(name, olderVersions, minted, lifeLeftMs);
    ago(this.momento, DAY, () => {
      for (let n = 0; n < orphans; n += 1) mint(this.momento, name);
    });
  }

  /** Adds a management key. A stale read finds an older version whose key works. */
  managementKey(name: string): void {
    this.mintedSecret(name, {
      olderVersions: 50,
      role: 'r-operator',
      lifeLeftMs: TERMS.lifetimeMs,
    });
  }

  deploy({ secrets, managementKey, policy }: ScaleDeployment): void {
    const { secretManager, momento, clock } = this;
    const keyApiEmulator = this.services.keyApi.host;
    this.#instance = deploy({
      secrets: secrets.map((secret) => ({
        payload: 'json',
        ...secret,
        ...secretName(secret.name),
      })),
      managementKey: managementKey === undefined ? undefined : secretName(managementKey),
      store: new SecretManagerStore({ emulator: secretManager.host, clock }),
      keys: new MomentoKeys({ emulator: momento.host, keyApiEmulator, clock }),
      clock,
      policy,
    });
    const listening = [
      secretManager.onChange(() => this.#checkNewest()),
      momento.onChange(() => this.#checkNewest()),
    ];
    this.#stopWatching = () => {
      for (const stop of listening) stop();
    };
  }

  /** One run of all secrets, or another request. */
  async run(body?: object): Promise<Measured> {
    const startedAt = this.clock.monotonic();
    const [secretManager, keyApi] = [new Meter(), new Meter()];
    const meter = (plan: FaultPlan, at: Meter): void => {
      plan.intercept = async (received, when) => {
        if (when === 'before') {
          at.begin(received.method, this.clock.monotonic() - startedAt);
          await this.clock.sleep(LATENCY_MS);
        } else at.end();
        const fault = this.onCall?.(received, when);
        if (fault !== undefined && when === 'before') at.end();
        return fault;
      };
    };
    meter(this.secretManager.faults, secretManager);
    meter(this.services.keyApi.faults, keyApi);
    if (this.#instance === undefined) throw new Error('nothing was deployed');
    const reply = await post(this.#instance.handler, {}, body);
    const durationMs = this.clock.monotonic() - startedAt;
    const { results } = reply.body as { results: Result[] };
    // A response revokes the keys of older versions before it disables them.
    if (body === undefined) this.#checkReferences();
    return { status: reply.status, results, durationMs, secretManager, keyApi };
  }

  /** The number of a secret's orphaned keys. */
  orphansOf(name: string): number {
    const referenced = this.secretManager.versions(name).flatMap(({ payload }) => keyIn(payload));
    return this.momento.account.orphans(descriptionOf(name), referenced).length;
  }

  /** The newest version must contain a v1 key whose refresh token wasn't used. */
  expectRefreshable(name: string): void {
    const payload = this.secretManager.latest(name);
    const { apiKey = '', refreshToken = '' } = (payload && readPayload(payload)) ?? {};
    this.expect(
      this.momento.acceptsRefresh(apiKey, refreshToken),
      `the newest credential of ${name} can't be refreshed`,
    );
  }

  /** Reports a violation if `bound` is false. */
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
    // The refresh token of the older key has been used.
    const older = ago(momento, 29 * DAY + HOUR, () => payload(TERMS.lifetimeMs + DAY)).replace(
      /("refreshToken":")[^"]+/,
      '$1used',
    );
    for (let n = olderVersions; n > 0; n -= 1) {
      secretManager.addVersion(name, older, { createTime: clock.now() - 29 * DAY - n * HOUR });
    }
    const newest = ago(momento, 29 * DAY, () => payload(lifeLeftMs + 29 * DAY));
    secretManager.addVersion(name, newest, { createTime: clock.now() - 29 * DAY });
  }

  /** Adds a violation if applications get no working key. Checks only the first four secrets. */
  #checkNewest(): void {
    for (const name of this.#names.slice(0, 4)) {
      // Read the actual newest version, because `latest` can be stale.
      const [newest] = this.secretManager.versions(name);
      const isEnabled = newest?.state === 'ENABLED';
      const key = keyIn(newest?.payload);
      if (!isEnabled || !this.momento.accepts(key)) {
        this.violations.push(`applications have no working key of ${name}`);
      }
    }
  }

  #checkReferences(): void {
    const { account } = this.momento;
    for (const name of this.#names) {
      const revoked = this.secretManager
        .versions(name)
        .filter(({ state }) => state === 'ENABLED')
        .filter(({ payload }) => account.find(keyIn(payload))?.revoked);
      this.expect(revoked.length === 0, `${revoked.length} enabled versions contain revoked keys`);
    }
  }
}

const BIG = 'projects/p/secrets/big';
const MANAGEMENT = 'projects/p/secrets/management';

/** A run can issue keys until then: 60 s are for the attempt, 30 s to store the key, and 15 s to answer. */
const LATEST_ISSUE_MS = 435 * SECOND;

function scaled(name: string, play: (bed: ScaleBed) => Promise<void>): Case {
  return {
    name,
    run: async () => {
      const bed = await ScaleBed.open();
      try {
        await play(bed);
      } finally {
        await bed.close();
      }
      return bed.violations;
    },
  };
}

function names(count: number, prefix = 'other'): string[] {
  return Array.from({ length: count }, (_, n) => `projects/p/secrets/${prefix}-${n}`);
}

/** Adds a violation unless all secrets, or the given ones, have this outcome. */
function expectOutcome(
  bed: ScaleBed,
  { results }: Measured,
  outcome: string,
  secrets?: readonly string[],
): void {
  const others = results.filter(
    (result) => (secrets?.includes(result.secret) ?? true) && result.outcome !== outcome,
  );
  const [first] = others;
  if (first === undefined) return;
  const end = `${first.outcome} ${first.error?.code ?? ''}`;
  bed.violations.push(`${others.length} secrets aren't ${outcome}, ${first.secret} is ${end}`);
}

/** Many due versions of one secret, and other secrets in the same project. */
function manyDueVersions(due: number, stale: number): Case {
  const name = `${due} due versions, 600 writes a minute, 200 other secrets, ${stale} changes stale`;
  return scaled(name, async (bed) => {
    const others = names(200);
    bed.v1Secret(BIG, due);
    for (const other of others) bed.v1Secret(other);
    const { secretManager } = bed;
    secretManager.quotas = { writesPerMinute: 600, readsPerMinute: 600 };
    bed.deploy({ secrets: [BIG, ...others].map((secret) => ({ name: secret })) });
    if (stale > 0) {
      secretManager.staleLists = secretManager.staleLatest = stale;
      bed.expectBounds(await bed.run());
      secretManager.staleLists = secretManager.staleLatest = 0;
      // The first run used most of this minute's read quota.
      bed.clock.advance(MINUTE);
    }
    const run = await bed.run();
    bed.expectBounds(run);
    expectOutcome(bed, run, 'rotated');
    // One addition for each secret. Each run also disables the previously newest version.
    const needed = 201 + (due + 1) + 200 * 2;
    const { writes } = run.secretManager;
    bed.expect(writes <= needed, `${writes} writes were sent for ${needed} changes`);
    // Additions have priority, so other writes don't delay them.
    const lastAdd = run.secretManager.last('AddSecretVersion');
    bed.expect(lastAdd <= 60 * SECOND, `a version was added at ${lastAdd / SECOND} s`);
    const enabled = secretManager.versions(BIG).filter(({ state }) => state === 'ENABLED');
    bed.expect(enabled.length === 1, `${enabled.length} versions are enabled in the end`);
  });
}

/** Before a revocation, a run reads every version that could contain the key. */
function manyReferences(versions: number, orphans: number, stale: number): Case {
  const name = `${versions} versions, ${orphans} orphaned keys, ${stale} changes stale`;
  return scaled(name, async (bed) => {
    bed.managementKey(MANAGEMENT);
    bed.mintedSecret(BIG, { olderVersions: versions - 1, orphans });
    const { secretManager } = bed;
    secretManager.quotas = { accessesPerMinute: 90_000, readsPerMinute: 600 };
    bed.deploy({
      secrets: [{ name: BIG, ...TERMS }],
      managementKey: MANAGEMENT,
      policy: { gracePeriodMs: 400 * DAY, revoke: true },
    });
    // Other reads: `latest`, the management key, and the next number before each batch of revocations.
    const batches = Math.ceil(orphans / 5);
    const run = async (): Promise<Measured> => {
      const measured = await bed.run();
      bed.expectBounds(measured);
      const bound = secretManager.versions(BIG).length * (1 + batches) + batches + 10;
      const reads = measured.secretManager.count('AccessSecretVersion', 'GetSecretVersion');
      bed.expect(reads <= bound, `${reads} reads, at most ${bound} are allowed`);
      return measured;
    };
    if (stale > 0) {
      // A run must not revoke a key because a stale read lacks its version. `bed.run` checks this.
      secretManager.staleLists = secretManager.staleLatest = stale;
      await run();
      secretManager.staleLists = secretManager.staleLatest = 0;
      bed.clock.advance(HOUR);
    }
    expectOutcome(bed, await run(), 'rotated');
    bed.expect(bed.orphansOf(BIG) === 0, `${bed.orphansOf(BIG)} orphaned keys are left`);
  });
}

/** More orphaned keys than one run can revoke, and secrets whose keys are minted. */
const manyOrphans = scaled(
  '2,700 orphaned keys in a run of 525 s, 60 secrets to mint',
  async (bed) => {
    const others = names(60);
    bed.managementKey(MANAGEMENT);
    bed.mintedSecret(BIG, { orphans: 2700, lifeLeftMs: 29 * DAY });
    for (const other of others) bed.mintedSecret(other);
    bed.deploy({
      secrets: [BIG, ...others].map((secret) => ({ name: secret, ...TERMS })),
      managementKey: MANAGEMENT,
      policy: { gracePeriodMs: HOUR, revoke: true, renewBefore: { minimumMs: 2 * DAY } },
    });
    const first = await bed.run();
    bed.expectBounds(first);
    expectOutcome(bed, first, 'rotated', others);
    const lastMint = first.keyApi.last('CreateKey');
    bed.expect(lastMint <= LATEST_ISSUE_MS, `a key was minted at ${lastMint / SECOND} s`);
    // Revocations have the lowest priority. At 5 calls in 1.1 s, it takes 27 s to mint and verify 60 keys.
    bed.expect(
      lastMint <= 60 * SECOND,
      `minting waited for revocations until ${lastMint / SECOND} s`,
    );
    const left = bed.orphansOf(BIG);
    // A batch of 5 revocations and the read before it take 1.13 s, so 510 s suffice for 450 batches, less 180 calls to mint.
    bed.expect(left <= 700, `${left} orphaned keys are left after the first run`);
    bed.clock.advance(HOUR);
    const second = await bed.run();
    bed.expectBounds(second);
    expectOutcome(bed, second, 'not_due');
    bed.expect(bed.orphansOf(BIG) === 0, `${bed.orphansOf(BIG)} orphaned keys are left in the end`);
  },
);

/** Momento's key API throttles for ever. */
const lastingThrottling = scaled(
  'a lasting 429, 80 secrets to mint before 20 v1 secrets',
  async (bed) => {
    const [minted, v1] = [names(80, 'minted'), names(20, 'v1')];
    bed.managementKey(MANAGEMENT);
    for (const name of minted) bed.mintedSecret(name);
    for (const name of v1) bed.v1Secret(name);
    bed.onCall = ({ service }, when) =>
      service === 'keyapi' && when === 'before'
        ? { kind: 'status', status: 429, retryAfter: '1', when }
        : undefined;
    bed.deploy({
      secrets: [...minted.map((name) => ({ name, ...TERMS })), ...v1.map((name) => ({ name }))],
      managementKey: MANAGEMENT,
    });
    const run = await bed.run();
    bed.expectBounds(run);
    expectOutcome(bed, run, 'rotated', v1);
    expectOutcome(bed, run, 'failed', minted);
    // An addition and a disabling for each of 20 secrets.
    const last = run.secretManager.last('DisableSecretVersion');
    bed.expect(last <= 10 * SECOND, `v1 secrets waited for the key API until ${last / SECOND} s`);
  },
);

/** A credential that couldn't be stored, many versions, and a service that shows an old state afterwards. */
function unsavedCredential(versions: number, stale: number): Case {
  const name = `an unsaved credential, ${versions} versions, reads ${stale} changes stale`;
  return scaled(name, async (bed) => {
    bed.momento.refreshTokens = 'single-use';
    bed.v1Secret(BIG, versions - 1);
    const { secretManager } = bed;
    bed.deploy({ secrets: [{ name: BIG }] });
    bed.onCall = ({ method }, when) =>
      method === 'AddSecretVersion' && when === 'before'
        ? { kind: 'error', code: status.UNAVAILABLE, when }
        : undefined;
    const first = await bed.run();
    bed.expectBounds(first);
    expectOutcome(bed, first, 'failed');
    bed.onCall = undefined;
    secretManager.staleLists = secretManager.staleLatest = stale;
    const second = await bed.run();
    bed.expectBounds(second);
    secretManager.staleLists = secretManager.staleLatest = 0;
    bed.clock.advance(HOUR);
    const third = await bed.run();
    bed.expectBounds(third);
    expectOutcome(bed, third, 'rotated');
    bed.expectRefreshable(BIG);
  });
}

/** All keys leaked. If a delivery runs out of time, the next delivery must have less to do. */
function everyKeyLeaked(count: number): Case {
  return scaled(`${count} minted secrets whose keys leaked`, async (bed) => {
    const secrets = names(count);
    bed.managementKey(MANAGEMENT);
    for (const name of secrets) bed.mintedSecret(name);
    bed.deploy({
      secrets: secrets.map((name) => ({ name, ...TERMS })),
      managementKey: MANAGEMENT,
    });
    const since = new Date(bed.clock.now()).toISOString();
    bed.clock.advance(SECOND);
    for (let delivery = 1; delivery <= 2; delivery += 1) {
      const run = await bed.run({ compromised: true, all: true, since });
      bed.expectBounds(run);
      const contained = run.results.filter((result) => result.contained === true).length;
      if (contained === count) return;
    }
    bed.violations.push('after two deliveries there are old keys that Momento accepts');
  });
}

export const scale: Group = {
  name: 'scale',
  title: 'many versions, many keys, many secrets',
  concurrency: 1,
  caseLimitMs: 600_000,
  cases: (extent) => {
    const quick = [
      manyReferences(365, 100, 2),
      lastingThrottling,
      unsavedCredential(40, 1),
      unsavedCredential(40, 30),
    ];
    if (extent === 'short') return quick;
    return [
      ...quick,
      manyOrphans,
      everyKeyLeaked(400),
      manyDueVersions(2000, 0),
      manyDueVersions(2000, 2),
      manyDueVersions(3000, 0),
      manyReferences(365, 100, 0),
      manyReferences(10_000, 20, 0),
      unsavedCredential(2000, 1),
      unsavedCredential(2000, 50),
    ];
  },
};
