import { randomBytes } from 'node:crypto';
import { status } from '@grpc/grpc-js';
import { DAY, HOUR } from '../../src/duration';
import { MomentoKeys } from '../../src/momento/issuer';
import { descriptionOf } from '../../src/momento/mint';
import type { RenewalPolicy } from '../../src/rotation/policy';
import type { Secret } from '../../src/rotation/ports';
import type { RunResult } from '../../src/rotation/result';
import { Rotator } from '../../src/rotation/rotator';
import type { RunOptions } from '../../src/rotation/run';
import type { StatusReport } from '../../src/rotation/status';
import { SecretManagerStore } from '../../src/secret-manager/store';
import { parseSecretName, type SecretName } from '../../src/secret-name';
import type { Key } from '../../emulators/account';
import type { Fault, Hook, Moment } from '../../emulators/faults';
import { REFRESH_PATH, type KeyApiEmulator } from '../../emulators/key-api';
import type { IssuedKey, MomentoEmulator } from '../../emulators/momento';
import type { SecretManagerEmulator } from '../../emulators/secret-manager';
import { startServices, type Services } from '../../emulators/services';
import '../schema-once';
import { leaks } from '../leaks';
import { START, VirtualClock } from '../virtual-clock';

/** How long a run can take, as with the default timeout of the function. */
export const RUN_TIME = 525_000;

/** No key of these tests is due. */
export const NOT_DUE: Partial<RenewalPolicy> = { renewBefore: { minimumMs: HOUR } };

/** Every run rotates, without a grace period, and revokes orphaned keys. */
export const REVOKE: Partial<RenewalPolicy> = { revoke: true, gracePeriodMs: 0 };

/** The role and lifetime of minted keys. */
export const TERMS = { role: 'r-viewer', lifetimeMs: 30 * DAY };

/** How the function is configured. */
export interface Setup {
  readonly policy?: Partial<RenewalPolicy>;
  readonly managementKey?: SecretName;
  readonly endpoint?: string;
  readonly refreshPath?: string;
}

export interface Seed {
  /** A new name by default. */
  readonly secret?: SecretName;
  /** `projects/P` or `projects/P/locations/L` */
  readonly parent?: string;
  readonly createTime?: number;
  readonly versionDestroyTtlMs?: number;
  /** Set to false if the test leaves applications without a working key. */
  readonly isWatched?: boolean;
}

export interface Seeded {
  readonly secret: Secret;
  readonly key: IssuedKey;
  /** A field of the payload beside the credential. */
  readonly note: string;
}

type V2Options = Parameters<MomentoEmulator['issueV2Key']>[0];
export type Configured = Omit<Partial<Secret>, keyof SecretName>;

/** The emulators, with a clock in common, and instances of the function that call them. */
export class TestBed {
  /** Violations for applications that read `latest`, checked after every change at an emulator. */
  readonly violations: string[] = [];
  readonly secretManager: SecretManagerEmulator;
  readonly momento: MomentoEmulator;
  readonly keyApi: KeyApiEmulator;
  readonly #services: Services;
  readonly #settings: readonly (readonly [object, object])[];
  readonly #watched = new Set<string>();
  readonly #notes: string[] = [];
  readonly #reported: unknown[] = [];
  #names = 0;

  private constructor(
    services: Services,
    readonly clock: VirtualClock,
  ) {
    const { secretManager, momento, keyApi } = services;
    this.#services = services;
    this.secretManager = secretManager;
    this.momento = momento;
    this.keyApi = keyApi;
    // The emulators' settings are their public fields.
    this.#settings = [secretManager, momento, keyApi, momento.account].map((emulator) => [
      emulator,
      Object.fromEntries(Object.entries(emulator)),
    ]);
    secretManager.onChange(() => this.#checkApplications());
    // The key API shares the account with `momento`, which therefore reports changes of both.
    momento.onChange(() => this.#checkApplications());
  }

  static async start(startTime = START): Promise<TestBed> {
    const clock = new VirtualClock(startTime);
    const services = await startServices(clock);
    return new TestBed(services, clock);
  }

  /** The environment in which the function calls these emulators. */
  get env(): Services['env'] {
    return this.#services.env;
  }

  stop(): Promise<void> {
    return this.#services.stop();
  }

  /** Restores the initial settings of the emulators. Keeps the secrets. */
  reset(): void {
    for (const { faults } of this.#emulators) {
      faults.clear();
      faults.forget();
    }
    for (const [emulator, settings] of this.#settings) Object.assign(emulator, settings);
    this.keyApi.refreshPath = REFRESH_PATH;
    this.#watched.clear();
    this.violations.length = 0;
  }

  /** Fails if applications had no working key at any time, or if a result contains a piece of a secret. */
  expectSafe(): void {
    expect(this.violations).toEqual([]);
    expect(leaks(this.secrets, [JSON.stringify(this.#reported)])).toEqual([]);
  }

  /** Fails unless applications get a new key that can be refreshed. */
  expectRenewed({ secret, key }: Seeded): void {
    const { apiKey, refreshToken } = this.latest(secret);
    // A matcher would print the key.
    expect(apiKey === key.apiKey).toBe(false);
    expect(this.momento.acceptsRefresh(String(apiKey), String(refreshToken))).toBe(true);
  }

  /** A name that no other test uses. */
  newName(parent = 'projects/p'): SecretName {
    this.#names += 1;
    const name = parseSecretName(`${parent}/secrets/s${this.#names}`);
    if (name === undefined) throw new Error(`not a parent: ${parent}`);
    return name;
  }

  emptySecret(configured: Configured = {}): Secret {
    const name = this.newName();
    this.secretManager.createSecret(name.name);
    return { ...name, payload: 'json', ...configured };
  }

  /** A secret whose first version contains a v1 key from the console, and a note beside it. */
  seed({ parent, isWatched = true, createTime, versionDestroyTtlMs, ...rest }: Seed = {}): Seeded {
    const secret: Secret = { ...(rest.secret ?? this.newName(parent)), payload: 'json' };
    const key = this.momento.issueKey();
    const note = randomBytes(12).toString('base64url');
    this.#notes.push(note);
    this.secretManager.createSecret(secret.name, {
      ...(versionDestroyTtlMs !== undefined && { versionDestroyTtlMs }),
    });
    const payload = JSON.stringify({ ...(JSON.parse(key.consoleJson) as object), note });
    this.secretManager.addVersion(secret.name, payload, {
      ...(createTime !== undefined && { createTime }),
    });
    if (isWatched) this.watch(secret);
    return { secret, key, note };
  }

  /** A secret whose first version contains a v2 key from the console. */
  seedV2(
    configured: Configured = {},
    key: V2Options = {},
    format: 'apiJson' | 'consoleJson' | 'apiKey' = 'apiJson',
  ): Secret {
    const secret = this.emptySecret(configured);
    this.addVersion(secret, this.momento.issueV2Key(key)[format]);
    return secret;
  }

  /** A secret with a key that can manage keys. */
  managementKey(role = 'r-operator'): SecretName {
    return this.seedV2({}, { role, lifetimeSeconds: 365 * 24 * 3600, description: 'management' });
  }

  /** Stores a payload, by default a new v1 key. From now on applications must have a working key. */
  addVersion(secret: SecretName, payload = this.momento.issueKey().consoleJson): void {
    this.secretManager.addVersion(secret.name, payload);
    this.watch(secret);
  }

  /** A key that the rotator minted some time ago. */
  mintedKey(secret: SecretName, age = 2 * HOUR): Key {
    const { account } = this.momento;
    const { now } = account;
    account.now = () => now() - age;
    const expiresAt = Math.floor((account.now() + TERMS.lifetimeMs) / 1000);
    const terms = { role: TERMS.role, expiresAt, withRefreshToken: false };
    const key = account.issue({ ...terms, description: descriptionOf(secret) }, 'call');
    account.now = now;
    return key;
  }

  /** From now on applications that read the secret must have a working key. */
  watch({ name }: SecretName): void {
    this.#watched.add(name);
  }

  unwatch({ name }: SecretName): void {
    this.#watched.delete(name);
  }

  /** Everything that the function must not write anywhere. */
  get secrets(): string[] {
    return [...this.momento.secrets(), ...this.#notes];
  }

  /** The states of the versions, oldest first. */
  states({ name }: SecretName): string[] {
    const versions = this.secretManager.versions(name);
    return versions.map(({ state }) => state).toReversed();
  }

  /** The payload that applications get from `latest`. */
  payload({ name }: SecretName): string {
    const payload = this.secretManager.latest(name);
    if (payload === undefined) throw new Error(`applications can't read ${name}`);
    return payload.toString();
  }

  /** The payload that applications get from `latest`, parsed as JSON. */
  latest(secret: SecretName): Record<string, unknown> {
    return JSON.parse(this.payload(secret)) as Record<string, unknown>;
  }

  /** The v2 key that applications get. */
  keyOf(secret: SecretName): Key {
    const key = this.momento.account.find(keyIn(this.payload(secret)));
    if (key === undefined) throw new Error("it isn't a v2 key of the account");
    return key;
  }

  /** The ids of the minted keys of a secret that are alive, oldest first. */
  liveKeys(secret: SecretName): string[] {
    const { account } = this.momento;
    const live = account.keys(descriptionOf(secret)).filter((key) => account.isLive(key));
    return live.map(({ info }) => info.key_id);
  }

  /** An instance of the function, whose runs share the unsaved credentials. */
  instance(secrets: readonly Secret[], { policy, managementKey, ...setup }: Setup = {}): Instance {
    const { clock, momento, keyApi } = this;
    const rotator = new Rotator({
      secrets,
      store: new SecretManagerStore({ emulator: this.secretManager.host, clock }),
      keys: new MomentoKeys({
        emulator: momento.host,
        keyApiEmulator: keyApi.host,
        clock,
        ...setup,
      }),
      policy: { gracePeriodMs: 0, verify: true, revoke: false, ...policy },
      clock,
      managementKey,
    });
    return new Instance(rotator, clock, this.#reported);
  }

  /** Runs a new instance once for one secret. */
  rotate(secret: Secret, setup: Setup = {}, options: Partial<RunOptions> = {}): Promise<RunResult> {
    return this.instance([secret], setup).rotate(options);
  }

  /** The methods that were called, in order. */
  get called(): string[] {
    return this.#emulators.flatMap(({ faults }) => faults.calls.map(({ method }) => method));
  }

  timesCalled(method: string): number {
    return this.called.filter((called) => called === method).length;
  }

  inject(method: string, nth: number | 'every', fault: Fault | string): void {
    const injected = typeof fault === 'string' ? parseFault(fault) : fault;
    for (const { faults } of this.#emulators) faults.inject(method, nth, injected);
  }

  intercept(hook: Hook): void {
    for (const { faults } of this.#emulators) faults.intercept = hook;
  }

  /** Calls `act` once, before or after the next call of a method. Injects the fault that `act` returns. */
  when(moment: `${Moment} ${string}`, act: () => ReturnType<Hook>): void {
    let isDone = false;
    this.intercept(async ({ method }, now) => {
      if (isDone || moment !== `${now} ${method}`) return;
      isDone = true;
      return act();
    });
  }

  endFaults(): void {
    for (const { faults } of this.#emulators) faults.clear();
  }

  get #emulators() {
    return [this.secretManager, this.momento, this.keyApi];
  }

  #checkApplications(): void {
    for (const name of this.#watched) {
      const payload = this.secretManager.latest(name);
      if (payload === undefined) {
        this.violations.push(`${name}: applications can't read latest`);
      } else if (!this.momento.accepts(keyIn(payload.toString()))) {
        this.violations.push(`${name}: applications have no key that Momento accepts`);
      }
    }
  }
}

/** An instance of the function, without its HTTP handler. */
export class Instance {
  constructor(
    readonly rotator: Rotator,
    private readonly clock: VirtualClock,
    private readonly reported: unknown[],
  ) {}

  /** One request for all secrets. */
  async request(options: Partial<RunOptions> = {}): Promise<RunResult[]> {
    const deadline = this.clock.monotonic() + RUN_TIME;
    const all = { force: false, dryRun: false, deadline, ...options };
    const results = await this.rotator.rotate(this.rotator.secrets, all, () => undefined);
    this.reported.push(results);
    return results;
  }

  /** One request for all secrets. Returns the result of the first secret. */
  async rotate(options: Partial<RunOptions> = {}): Promise<RunResult> {
    const [first] = await this.request(options);
    if (first === undefined) throw new Error('a request without a secret');
    return first;
  }

  async status(): Promise<StatusReport> {
    const [first] = await this.rotator.status();
    if (first === undefined) throw new Error('a report without a secret');
    this.reported.push(first);
    return first;
  }
}

/** Parses a fault such as `UNAVAILABLE before`, `429 after`, `drop after` or `half`. */
export function parseFault(name: string): Fault {
  const [what, when] = name.split(' ') as [string, Moment?];
  if (when === undefined) return { kind: what as 'corrupt' | 'half' | 'not-json' };
  if (what === 'drop' || what === 'hang' || what === 'upgrade') return { kind: what, when };
  if (/^\d+$/.test(what)) return { kind: 'status', status: Number(what), when };
  return { kind: 'error', code: status[what as keyof typeof status], when };
}

/** The API key in a payload of any format, under any of its names. */
export function keyIn(payload: string): string {
  const text = payload.trim();
  if (!text.startsWith('{')) return text;
  const fields = JSON.parse(text) as Record<string, unknown>;
  return String(fields.apiKey ?? fields.authToken ?? fields.apiToken ?? fields.api_key).trim();
}
