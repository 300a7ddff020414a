/** One secret, the services that hold it, and the function in this process: what a case of the campaign plays in. */
import { status } from '@grpc/grpc-js';
import type { Clock } from '../../src/clock';
import { createHandler, type Handler } from '../../src/http/handler';
import type { LogEntry } from '../../src/log';
import { MomentoKeys } from '../../src/momento/issuer';
import type { RenewalPolicy } from '../../src/rotation/policy';
import type { KeySource, Secret, SecretStore } from '../../src/rotation/ports';
import type { RotationResult } from '../../src/rotation/result';
import { Rotator } from '../../src/rotation/rotator';
import type { SecretName } from '../../src/secret-name';
import { ENDPOINT } from '../../emulators/account';
import type { Call, Fault, Moment } from '../../emulators/faults';
import { KeyApiEmulator } from '../../emulators/key-api';
import { MomentoEmulator } from '../../emulators/momento';
import type { SecretManagerEmulator } from '../../emulators/secret-manager';
import type { VirtualClock } from '../virtual-clock';
import {
  begin,
  credential,
  LIFETIME_MS,
  managementOf,
  ROLE,
  type Kind,
  type Start,
} from './beginnings';
import { Invariants, type Ending } from './invariants';
import { KeyInvariants, ours } from './key-invariants';
import { keyIn, readPayload, type Form, type Read } from './payloads';
import { call, DAY, HOUR, MINUTE, SECOND, secretName, type Stage } from './stage';

/** The function's timeout in all cases; the platform kills a run that takes longer. */
export const TIMEOUT_MS = 540 * SECOND;

/** Where a call is in a run: which method, the how manieth call of it. */
export interface Site {
  readonly call: Call;
  readonly when: Moment;
  readonly method: string;
  /** From 1, in this run. */
  readonly n: number;
}

/** Decides what strikes a call, or does something at that moment. */
export type Director = (site: Site) => Fault | undefined | Promise<Fault | undefined>;

/** What a run ended with. */
export interface Run extends Ending {
  readonly result: RotationResult;
  readonly log: readonly LogEntry[];
}

export interface SceneOptions {
  readonly policy?: Partial<RenewalPolicy>;
  readonly refreshTokens?: MomentoEmulator['refreshTokens'];
  readonly versionDestroyTtlMs?: number;
  /** How long ago the newest version was added, and how much longer its key lives. */
  readonly ageMs?: number;
  readonly lifeLeftMs?: number;
  readonly timeoutMs?: number;
  readonly kind?: Kind;
  /** The form of the secret's payloads, where its keys are v2 keys. */
  readonly form?: Form;
  readonly start?: Start;
  /** Who tells whether a v2 key is good. */
  readonly verifiedBy?: 'key API' | 'endpoint';
  /** Where role and lifetime of keys that are minted come from. */
  readonly terms?: 'configured' | 'of the current key';
  /** Whether the secret of the management key is rotated as well, in the same requests. */
  readonly renewsItself?: boolean;
  /** Whether the function's clock is that of the services. */
  readonly isClockRight?: boolean;
}

/** With this a rotation makes every call there is: it disables one version and destroys another. */
export const EVERY_CALL: Partial<RenewalPolicy> = { gracePeriodMs: 0, destroyAfterMs: DAY };

/** One instance of the function: what it keeps in memory is its own. */
export interface Instance {
  readonly handler: Handler;
  readonly log: LogEntry[];
}

export class Scene {
  readonly clock: VirtualClock;
  readonly secretManager: SecretManagerEmulator;
  readonly secret: SecretName;
  /** The secret of the management key, where there is one. */
  readonly management: SecretName;
  readonly kind: Kind;
  readonly invariants: Invariants;
  /** About v2 keys. */
  readonly keys: KeyInvariants;
  /** Refreshes that took effect, and whose answer did not reach the function. */
  lostAnswers = 0;

  readonly #options: SceneOptions;
  readonly #stage: Stage;
  readonly #beganAt: number;
  readonly #managementInvariants: Invariants | undefined;
  readonly #counts = new Map<string, number>();
  readonly #arrivals = new WeakMap<Call, { n: number; keys: number }>();
  #direct: Director | undefined;
  #instance: Instance;

  private constructor(
    stage: Stage,
    readonly momento: MomentoEmulator,
    readonly keyApi: KeyApiEmulator,
    options: SceneOptions,
  ) {
    const { ageMs = 29 * DAY, lifeLeftMs = DAY, kind = 'v1', form = 'api' } = options;
    const { start = 'minted', versionDestroyTtlMs, renewsItself = false } = options;
    this.#options = options;
    this.#stage = stage;
    this.clock = stage.clock;
    // Functions in processes of their own have the real time of day.
    this.clock.setWallClock(Math.floor(Date.now() / SECOND) * SECOND);
    this.kind = kind;
    this.#beganAt = this.clock.now();
    const secretManager = (this.secretManager = stage.secretManager);
    secretManager.now = momento.now = this.clock.now;
    secretManager.staleLists = secretManager.staleLatest = 0;
    secretManager.quotas = {};
    momento.refreshTokens = options.refreshTokens ?? 'reusable';
    this.secret = secretName(stage.nextName());
    const { name } = this.secret;
    this.management = secretName(managementOf(name));

    const beginning = { secretManager, momento, name, kind, form, start, ageMs, lifeLeftMs };
    const notes = begin({ ...beginning, versionDestroyTtlMs });
    const graceMs = this.#policy.gracePeriodMs;
    const services = { secretManager, momento, graceMs };
    // Listens first: it knows what readers may be without a key for.
    this.keys = new KeyInvariants({
      secretManager,
      account: momento.account,
      secrets: kind === 'mint' ? this.#rotated.map((secret) => secret.name) : [],
      isPersonActing: () => this.invariants.isPersonActing,
      violated: (invariant, what) => this.invariants.violated(invariant, what),
      excused: () => this.invariants.excuse('a person put back a key that was about to end'),
    });
    this.invariants = new Invariants({
      ...services,
      secret: name,
      notes,
      isClockRight: options.isClockRight ?? true,
      ...(kind === 'mint' && start === 'nothing' && { excuse: 'there is no key yet' }),
      ...(kind !== 'v1' && { lastRefused: (last) => this.#refusedV2(last) }),
    });
    if (renewsItself) {
      const lastRefused = () => undefined;
      const watch = { ...services, secret: this.management.name, lastRefused };
      this.#managementInvariants = new Invariants(watch);
    }
    this.#instance = this.newInstance();

    const intercept = (call: Call, when: Moment) => this.#intercept(call, when);
    for (const { faults } of [secretManager, momento, keyApi]) {
      faults.forget();
      faults.intercept = intercept;
    }
  }

  static async open(stage: Stage, options: SceneOptions = {}): Promise<Scene> {
    const momento = await MomentoEmulator.start();
    const keyApi = await KeyApiEmulator.start({ account: momento.account });
    return new Scene(stage, momento, keyApi, options);
  }

  /** Ends the scene; returns what was violated. */
  async close(): Promise<readonly string[]> {
    const { invariants, secretManager, momento, keyApi, secret, management } = this;
    invariants.judgeWritten();
    for (const watch of [invariants, this.#managementInvariants, this.keys]) watch?.stop();
    secretManager.faults.clear();
    for (const { name } of [secret, management]) {
      if (secretManager.versions(name).length > 0) secretManager.deleteSecret(name);
    }
    await Promise.all([momento.stop(), keyApi.stop()]);
    const ofManagement = this.#managementInvariants?.violations ?? [];
    return [...invariants.violations, ...ofManagement.map((what) => `management key: ${what}`)];
  }

  /** A credential as a person stores it. */
  credential(options: { ageMs?: number; lifeLeftMs?: number; note?: string } = {}): string {
    return credential({ momento: this.momento, kind: this.kind, form: this.#form }, options);
  }

  /** Does what a person does at any of the services. */
  person(act: () => void): void {
    const management = this.#managementInvariants;
    this.invariants.person(management === undefined ? act : () => management.person(act));
  }

  newKeys(clock: Clock = this.clock, emulator = this.momento.host): MomentoKeys {
    return new MomentoKeys({
      emulator,
      keyApiEmulator: this.keyApi.host,
      ...(this.#options.verifiedBy === 'endpoint' && { endpoint: ENDPOINT }),
      clock,
    });
  }

  /** Another instance of the function, as after a start of its process. */
  newInstance(ports: { store?: SecretStore; keys?: KeySource; clock?: Clock } = {}): Instance {
    const { timeoutMs = TIMEOUT_MS } = this.#options;
    const { kind, secret, management } = this;
    const { store = this.#stage.store, clock = this.clock, keys = this.newKeys(clock) } = ports;
    const terms = this.#options.terms === 'of the current key' ? {} : TERMS;
    const secrets: Secret[] =
      kind === 'mint'
        ? this.#rotated.map(({ name }) => ({
            ...secretName(name),
            payload: this.#form === 'key' ? 'key' : 'json',
            ...(name === secret.name && terms),
          }))
        : [{ ...secret, payload: 'json' }];
    const policy = this.#policy;
    const managementKey = kind === 'mint' ? management : undefined;
    const rotator = new Rotator({ secrets, store, keys, policy, clock, managementKey });
    const log: LogEntry[] = [];
    const handler = createHandler({
      rotator,
      timeoutMs,
      traceProject: 'p',
      clock,
      log: (entry) => log.push(entry),
    });
    return { handler, log };
  }

  /** The environment of the function in a process of its own. */
  get env(): Readonly<Record<string, string>> {
    const { secret, management, secretManager, momento, keyApi, kind } = this;
    return {
      SECRETS:
        kind === 'mint'
          ? JSON.stringify([{ name: secret.name, role: ROLE, lifetime: `${LIFETIME_MS / DAY}d` }])
          : secret.name,
      ...(kind === 'mint' && { MANAGEMENT_KEY: management.name, REVOKE: 'true' }),
      SECRET_MANAGER_EMULATOR_HOST: secretManager.host,
      MOMENTO_EMULATOR_HOST: momento.host,
      MOMENTO_KEY_API_EMULATOR_HOST: keyApi.host,
    };
  }

  /** An instance beside the first. As another process it has connections of its own, so the same address looks another. */
  otherInstance(): Instance {
    return this.newInstance({ keys: this.newKeys(this.clock, `ipv4:${this.momento.host}`) });
  }

  /** From now on the function runs in a new process. */
  restart(): void {
    this.#instance = this.newInstance();
  }

  /** One run, as Cloud Scheduler starts it; `strike` decides about its calls. */
  async run(
    options: { strike?: Director; headers?: Readonly<Record<string, string>> } = {},
  ): Promise<Run> {
    const unseen = new Set(['AccessSecretVersion', 'ListSecretVersions']);
    this.keys.runBegins();
    let ended = (): void => undefined;
    this.aim(async (site) => {
      const fault = await options.strike?.(site);
      // What is added from now on, this run has not seen.
      const hasAnswer = site.when === 'after' && (fault === undefined || fault.kind === 'slow');
      if (hasAnswer && unseen.delete(site.method) && unseen.size === 0) {
        ended = this.invariants.runLooked();
      }
      return fault;
    });
    try {
      return await this.runOn(this.#instance, options.headers);
    } finally {
      ended();
      this.aim(undefined);
    }
  }

  /** From now on `strike` decides about calls, which count from 1 again. */
  aim(strike: Director | undefined): void {
    this.#counts.clear();
    this.#direct = strike;
  }

  async runOn(instance: Instance, headers: Readonly<Record<string, string>> = {}): Promise<Run> {
    const { timeoutMs = TIMEOUT_MS } = this.#options;
    const startedAt = this.clock.monotonic();
    const logged = instance.log.length;
    const reply = await call(instance.handler, { headers });
    const log = instance.log.slice(logged);
    const [result] = (reply.body as { results: RotationResult[] }).results;
    if (result === undefined) throw new Error('an answer without a result');
    const run: Run = {
      result,
      log,
      status: reply.status,
      outcome: result.outcome,
      code: result.error?.code,
      written: [JSON.stringify(reply.body), ...log.map((entry) => JSON.stringify(entry))],
    };
    this.invariants.ends(run, this.clock.monotonic() - startedAt - timeoutMs);
    return run;
  }

  /**
   * The last run of a case, without faults, which has to put everything right unless a key is `lost` for good. Where keys
   * are minted, another one follows when every superseded key may be revoked.
   */
  async runLast(
    options: {
      lost?: boolean;
      headers?: Readonly<Record<string, string>>;
      /** Called between the two. */
      afterFirst?: () => void;
    } = {},
  ): Promise<Run> {
    const { lost = false, headers = {}, afterFirst } = options;
    this.clock.advance(SECOND);
    const run = await this.run({ headers });
    const isSingleUse = this.kind === 'refresh' || this.momento.refreshTokens === 'single-use';
    this.invariants.judgeLastRun(run, isSingleUse && (lost || this.lostAnswers > 0));
    afterFirst?.();
    if (this.kind !== 'mint') return run;
    // A call that is slower than its run still has its effect, and not as late as time is advanced here.
    while (this.clock.sleepers > 0) await this.clock.step();
    this.clock.advance(Math.max(HOUR, this.#policy.gracePeriodMs) + MINUTE);
    if (this.newestKeyEndsIn <= 0) this.invariants.excuse('it expired with no run for days');
    const inUse = this.secretManager.latest(this.management.name);
    const second = await this.run();
    this.invariants.judgeLastRun(second, false);
    this.#managementInvariants?.judgeLastRun(second, false);
    if (this.#policy.revoke) this.keys.judgeEnd(inUse && keyIn(inUse));
    return run;
  }

  /** The versions' states, oldest first. */
  get states(): string[] {
    const versions = this.secretManager.versions(this.secret.name);
    return versions.map(({ state }) => state).toReversed();
  }

  /** How many versions the secret has. */
  get versions(): number {
    return this.secretManager.versions(this.secret.name).length;
  }

  /** How often the secret's versions have changed. */
  get changes(): number {
    return this.invariants.changesOfVersions;
  }

  /** In how many milliseconds the key that readers of `latest` get expires; Infinity where they get none. */
  get newestKeyEndsIn(): number {
    const payload = this.secretManager.latest(this.secret.name);
    const expiresAt = payload && this.momento.expiryOf(keyIn(payload) ?? '');
    return (expiresAt ?? Infinity) - this.clock.now();
  }

  /** Whether readers of `latest` have a key that works, and of which a run can make another one. */
  get canGoOn(): boolean {
    const payload = this.secretManager.latest(this.secret.name);
    const last = payload && readPayload(payload);
    if (last === undefined) return false;
    if (this.kind !== 'v1') return this.#refusedV2(last) === undefined;
    return this.momento.acceptsRefresh(last.apiKey, last.refreshToken ?? '');
  }

  get #policy(): RenewalPolicy {
    const { kind } = this;
    const given = this.#options.policy ?? EVERY_CALL;
    return { gracePeriodMs: 0, verify: true, revoke: kind === 'mint', ...given };
  }

  get #form(): Form {
    return this.#options.form ?? 'api';
  }

  get #rotated(): readonly SecretName[] {
    return this.#options.renewsItself === true ? [this.secret, this.management] : [this.secret];
  }

  /** Why a v2 credential cannot be the last of a case. */
  #refusedV2({ apiKey, refreshToken }: Read): string | undefined {
    const { account } = this.momento;
    const key = account.find(apiKey);
    if (!this.momento.accepts(apiKey)) return 'does not work';
    if (this.kind === 'refresh') {
      const isItsOwn = key?.refreshToken === refreshToken;
      return isItsOwn && typeof account.refreshable(refreshToken ?? '') === 'object'
        ? undefined
        : 'cannot be refreshed';
    }
    if (key?.info.description !== ours(this.secret.name)) return undefined;
    if (refreshToken !== undefined) return 'has a refresh token of another key';
    // What the scene began with was minted by nobody.
    if (key.issuedAt < this.#beganAt || this.#options.terms !== undefined) return undefined;
    const { role_id, expires_at_epoch_seconds: expiry = Infinity } = key.info;
    const isAsAsked = role_id === ROLE && expiry * SECOND - key.issuedAt <= LIFETIME_MS;
    return isAsAsked ? undefined : 'is not what was asked for';
  }

  async #intercept(call: Call, when: Moment): Promise<Fault | undefined> {
    const method = this.#methodOf(call);
    // An effect is one moment with what follows until the first wait.
    const seen = when === 'after' ? this.#look(call) : undefined;
    const isRefresh = REFRESHES.includes(method);
    const countKeys = () => (isRefresh ? this.momento.secrets().length : 0);
    const arrival = this.#arrivals.get(call) ?? { n: this.#next(method), keys: countKeys() };
    this.#arrivals.set(call, arrival);
    const refreshed = isRefresh && when === 'after' && countKeys() > arrival.keys;
    const fault = await this.#direct?.({ call, when, method, n: arrival.n });
    // What a person did before the call took effect is not the call's effect.
    if (when === 'before') arrival.keys = countKeys();
    if (fault?.kind === 'slow') {
      await this.clock.sleep(fault.ms);
      return undefined;
    }
    if (fault?.kind === 'hang' && call.service === 'secretmanager') {
      // What the client makes of its deadline, which is the only one in real time.
      await this.clock.sleep(STORE_CALL_MS);
      return { kind: 'error', code: status.DEADLINE_EXCEEDED, when: fault.when };
    }
    if (fault === undefined) seen?.();
    if (refreshed && fault !== undefined) this.lostAnswers += 1;
    return fault;
  }

  /** Calls for the management key, and those that only prove a key, have names of their own. */
  #methodOf({ service, method, request }: Call): string {
    if (service === 'keyapi') {
      const { query } = request as { query: URLSearchParams };
      return method === 'ListKeys' && query.get('limit') === '1' ? 'ProveKey' : method;
    }
    const resource = resourceOf(request);
    return resource === this.management.name || resource.startsWith(`${this.management.name}/`)
      ? `Management${method}`
      : method;
  }

  /** Notes what a call learns of a version by its number. */
  #look({ method, request }: Call): (() => void) | undefined {
    if (method !== 'AccessSecretVersion') return undefined;
    const [secret = '', version] = resourceOf(request).split('/versions/');
    return version === 'latest' ? undefined : this.keys.looks(secret, Number(version));
  }

  #next(method: string): number {
    const n = (this.#counts.get(method) ?? 0) + 1;
    this.#counts.set(method, n);
    return n;
  }
}

/** How long the client of Secret Manager waits for an answer. */
const STORE_CALL_MS = 10 * SECOND;

const TERMS = { role: ROLE, lifetimeMs: LIFETIME_MS };
const REFRESHES: readonly string[] = ['RefreshApiToken', 'RefreshKey'];

/** The secret or version that a call of Secret Manager is about. */
function resourceOf(request: unknown): string {
  const { name, parent, resource } = request as Record<string, string | undefined>;
  // Of a field that a request has not, an empty text is what arrives.
  return [name, parent, resource].find((named) => named !== undefined && named !== '') ?? '';
}
