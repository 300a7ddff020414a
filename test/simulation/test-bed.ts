/** One secret, the emulators, and the function in this process. */
import { PassThrough, Readable } from 'node:stream';
import type { Request, Response } from '@google-cloud/functions-framework';
import { status } from '@grpc/grpc-js';
import type { Clock } from '../../src/clock';
import { DAY, HOUR, MINUTE, SECOND } from '../../src/duration';
import { createHandler, type Handler } from '../../src/http/handler';
import type { LogEntry } from '../../src/log';
import { MomentoKeys } from '../../src/momento/issuer';
import type { RenewalPolicy } from '../../src/rotation/policy';
import type { KeySource, Secret, SecretStore } from '../../src/rotation/ports';
import type { RotationResult } from '../../src/rotation/result';
import { Rotator } from '../../src/rotation/rotator';
import { parseSecretName, type SecretName } from '../../src/secret-name';
import { SecretManagerStore } from '../../src/secret-manager/store';
import { ENDPOINT } from '../../emulators/account';
import type { Call, Fault, Moment } from '../../emulators/faults';
import { KeyApiEmulator } from '../../emulators/key-api';
import { MomentoEmulator } from '../../emulators/momento';
import { SecretManagerEmulator } from '../../emulators/secret-manager';
import { VirtualClock } from '../virtual-clock';
import { Invariants, type Ending } from './invariants';
import { KeyInvariants } from './key-invariants';
import { ResponseInvariants } from './response-invariants';
import {
  begin,
  descriptionOf,
  keyIn,
  managementOf,
  mint,
  mintedPayload,
  newPayload,
  readPayload,
  TERMS,
  type Format,
  type Renewal,
  type Start,
  type StoredKey,
} from './keys';

/** The function's timeout; the platform ends a run that takes longer. */
export const TIMEOUT_MS = 540 * SECOND;

/** With this policy, a run makes calls of every kind: it also disables one version and destroys another. */
export const EVERY_CALL: Partial<RenewalPolicy> = { gracePeriodMs: 0, destroyAfterMs: DAY };

/** How long the client of Secret Manager waits for an answer. */
const STORE_CALL_MS = 10 * SECOND;

/** A call of a run. */
export interface Site {
  readonly call: Call;
  readonly when: Moment;
  readonly method: string;
  /** From 1, in this run. */
  readonly n: number;
}

/** Acts around every call, or returns a fault for it. */
// eslint-disable-next-line @typescript-eslint/no-invalid-void-type -- most of them return nothing
export type OnCall = (site: Site) => void | Fault | Promise<void | Fault>;

export interface Run extends Ending {
  readonly result: RotationResult;
  readonly log: readonly LogEntry[];
}

export interface RunOptions {
  readonly onCall?: OnCall;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: object;
}

/** The request for a compromise response. */
export interface ResponseRequest {
  /** The secrets whose keys are compromised; `secret` by default. */
  readonly of?: 'secret' | 'management' | 'all';
  readonly revokeFirst?: boolean;
}

export interface TestBedOptions {
  readonly policy?: Partial<RenewalPolicy>;
  readonly refreshTokens?: MomentoEmulator['refreshTokens'];
  readonly versionDestroyTtlMs?: number;
  /** How long ago the newest version was added. */
  readonly ageMs?: number;
  /** How long the newest key remains valid. */
  readonly lifeLeftMs?: number;
  readonly timeoutMs?: number;
  readonly renewal?: Renewal;
  readonly format?: Format;
  readonly start?: Start;
  /** Where v2 keys are verified. */
  readonly verifiedBy?: 'key API' | 'endpoint';
  /** Where the role and lifetime of minted keys come from. */
  readonly terms?: 'configured' | 'listed';
  /** Whether the secret of the management key is rotated as well, in the same requests. */
  readonly renewsManagementKey?: boolean;
  /** Whether the function's clock differs from the emulators'. */
  readonly isClockWrong?: boolean;
  /** Whether another secret is configured, whose keys are minted. `shared`: its newest version contains the same key. */
  readonly other?: 'own key' | 'shared key';
  /** If set, the case makes compromise responses, which ignore grace periods. */
  readonly response?: ResponseRequest;
}

/** An instance of the function with a memory of its own. */
export interface Instance {
  readonly handler: Handler;
  readonly log: LogEntry[];
}

/** A Secret Manager emulator and a client. Consecutive cases share them, because creating a client is slow. */
export class Worker {
  readonly clock = new VirtualClock();
  readonly store: SecretManagerStore;
  #names = 0;

  private constructor(readonly secretManager: SecretManagerEmulator) {
    this.store = new SecretManagerStore({ emulator: secretManager.host, clock: this.clock });
  }

  static async start(): Promise<Worker> {
    return new Worker(await SecretManagerEmulator.start());
  }

  stop(): Promise<void> {
    return this.secretManager.stop();
  }

  newName(): SecretName {
    this.#names += 1;
    // The client limits its calls by project, so each case has a project of its own.
    return secretName(`projects/p${this.#names}/secrets/s`);
  }
}

export function secretName(name: string): SecretName {
  const secret = parseSecretName(name);
  if (secret === undefined) throw new Error(`${name} isn't a secret's name`);
  return secret;
}

interface Deployment {
  readonly secrets: readonly Secret[];
  readonly store: SecretStore;
  readonly keys: KeySource;
  readonly clock: Clock;
  readonly managementKey?: SecretName | undefined;
  readonly policy?: Partial<RenewalPolicy> | undefined;
  readonly timeoutMs?: number | undefined;
}

/** Starts an instance of the function in this process, without a server. */
export function deploy({ policy, timeoutMs = TIMEOUT_MS, ...options }: Deployment): Instance {
  const { clock, managementKey } = options;
  const rotator = new Rotator({
    ...options,
    managementKey,
    policy: { gracePeriodMs: 0, verify: true, revoke: false, ...policy },
  });
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

/** Posts a request directly to the handler, without the server of functions-framework. */
export async function post(
  handler: Handler,
  headers: Readonly<Record<string, string>> = {},
  body?: object,
): Promise<{ status: number; body: unknown }> {
  const answer: { status: number; body: unknown } = { status: 0, body: undefined };
  const response = Object.assign(new PassThrough(), {
    set: () => response,
    status: (code: number) => {
      answer.status = code;
      return response;
    },
    json: (json: unknown) => {
      answer.body = json;
      response.end();
      response.resume();
    },
  }) as unknown as Response & PassThrough;
  const request = Object.assign(
    Readable.from(body === undefined ? [] : [Buffer.from(JSON.stringify(body))]),
    {
      method: 'POST',
      path: '/',
      url: '/',
      headers,
      get: (name: string) => headers[name.toLowerCase()],
    },
  );
  await handler(request as unknown as Request, response);
  return answer;
}

export class TestBed {
  readonly clock: VirtualClock;
  readonly secretManager: SecretManagerEmulator;
  readonly secret: SecretName;
  /** The secret of the management key, which exists only if keys are minted. */
  readonly management: SecretName;
  /** Another configured secret, which exists only with the option `other`. */
  readonly other: SecretName;
  readonly renewal: Renewal;
  readonly invariants: Invariants;
  readonly keyInvariants: KeyInvariants;
  /** Refreshes that took effect, and whose answer didn't reach the function. */
  lostAnswers = 0;

  readonly #options: TestBedOptions;
  readonly store: SecretStore;
  readonly #beganAt: number;
  readonly #managementInvariants: Invariants | undefined;
  readonly #responseInvariants: ResponseInvariants | undefined;
  #response: object | undefined;
  readonly #counts = new Map<string, number>();
  readonly #arrivals = new WeakMap<Call, { n: number; keys: number }>();
  #onCall: OnCall | undefined;
  #instance: Instance;

  private constructor(
    readonly worker: Worker,
    readonly momento: MomentoEmulator,
    readonly keyApi: KeyApiEmulator,
    options: TestBedOptions,
  ) {
    const { ageMs = 29 * DAY, lifeLeftMs = DAY, renewal = 'v1', start = 'minted' } = options;
    this.#options = options;
    this.store = worker.store;
    this.clock = worker.clock;
    // A function in a process of its own uses the real time of day.
    this.clock.setWallClock(Math.floor(Date.now() / SECOND) * SECOND);
    this.renewal = renewal;
    this.#beganAt = this.clock.now();
    const secretManager = (this.secretManager = worker.secretManager);
    secretManager.now = momento.now = this.clock.now;
    secretManager.staleLists = secretManager.staleLatest = 0;
    secretManager.quotas = {};
    momento.refreshTokens = options.refreshTokens ?? 'reusable';
    this.secret = worker.newName();
    const { name } = this.secret;
    this.management = secretName(managementOf(name));
    this.other = secretName(`${name}-other`);

    const note = begin({
      secretManager,
      momento,
      name,
      renewal,
      format: this.#format,
      start,
      ageMs,
      lifeLeftMs,
      versionDestroyTtlMs: options.versionDestroyTtlMs,
    });
    if (options.other !== undefined) this.#addOther(options.other);
    const { response } = options;
    const graceMs = response === undefined ? this.#policy.gracePeriodMs : 0;
    const watched = { secretManager, momento, graceMs };
    const minted = renewal === 'mint' ? this.#rotated.map((secret) => secret.name) : [];
    const compromised = response === undefined ? minted : this.compromised.map((each) => each.name);
    // KeyInvariants must listen before Invariants, because it excuses revocations that follow an operator action.
    this.keyInvariants = new KeyInvariants({
      secretManager,
      account: momento.account,
      secrets: compromised,
      ...(response !== undefined && {
        others: [this.secret, this.management, this.other]
          .map((each) => each.name)
          .filter((each) => !compromised.includes(each)),
      }),
      isOperatorActing: () => this.invariants.isOperatorActing,
      violated: (invariant, what) => this.invariants.violated(invariant, what),
      revokesFirst: response?.revokeFirst === true,
      excused: (of) => this.#invariantsOf(of).excuse('a key was revoked that could be revoked'),
    });
    this.invariants = new Invariants({
      ...watched,
      secret: name,
      notes: [note],
      isClockRight: options.isClockWrong !== true,
      ...(renewal === 'mint' && start === 'empty' && { excuse: 'there is no key yet' }),
      ...(renewal !== 'v1' && { lastRefused: (last) => this.#refusedV2(last) }),
    });
    if (options.renewsManagementKey === true) {
      const lastRefused = () => undefined;
      const watch = { ...watched, secret: this.management.name, lastRefused };
      this.#managementInvariants = new Invariants(watch);
    }
    if (response !== undefined) {
      this.#responseInvariants = new ResponseInvariants({
        secretManager,
        momento,
        secrets: compromised,
        revokeFirst: response.revokeFirst === true,
        isOperatorActing: () => this.invariants.isOperatorActing,
        violated: (invariant, what) => this.invariants.violated(invariant, what),
      });
    }
    this.#instance = this.newInstance();

    const intercept = (call: Call, when: Moment) => this.#intercept(call, when);
    for (const { faults } of [secretManager, momento, keyApi]) {
      faults.forget();
      faults.intercept = intercept;
    }
  }

  static async open(worker: Worker, options: TestBedOptions = {}): Promise<TestBed> {
    const momento = await MomentoEmulator.start();
    const keyApi = await KeyApiEmulator.start({ account: momento.account });
    return new TestBed(worker, momento, keyApi, options);
  }

  /** Ends the case. Returns all violations. */
  async close(): Promise<readonly string[]> {
    const { invariants, secretManager, momento, keyApi, secret, management, other } = this;
    invariants.checkWritten();
    const watching = [invariants, this.#managementInvariants, this.keyInvariants];
    for (const watch of [...watching, this.#responseInvariants]) watch?.stop();
    secretManager.faults.clear();
    for (const { name } of [secret, management, other]) {
      if (secretManager.versions(name).length > 0) secretManager.deleteSecret(name);
    }
    await Promise.all([momento.stop(), keyApi.stop()]);
    const ofManagement = this.#managementInvariants?.violations ?? [];
    return [...invariants.violations, ...ofManagement.map((what) => `management key: ${what}`)];
  }

  /** A payload as an operator stores it. */
  readonly newPayload = (): string =>
    newPayload({ momento: this.momento, renewal: this.renewal, format: this.#format });

  /** Carries out an operator action. */
  operator(act: () => void): void {
    const management = this.#managementInvariants;
    this.invariants.operator(management === undefined ? act : () => management.operator(act));
  }

  newKeys(clock: Clock = this.clock, emulator = this.momento.host): MomentoKeys {
    return new MomentoKeys({
      emulator,
      keyApiEmulator: this.keyApi.host,
      ...(this.#options.verifiedBy === 'endpoint' && { endpoint: ENDPOINT }),
      clock,
    });
  }

  newInstance(ports: { store?: SecretStore; keys?: KeySource; clock?: Clock } = {}): Instance {
    const { store = this.store, clock = this.clock, keys = this.newKeys(clock) } = ports;
    const isMinted = this.renewal === 'mint';
    const terms = isMinted && this.#options.terms !== 'listed' ? TERMS : {};
    const secrets = this.#rotated.map((secret): Secret => ({
      ...secret,
      payload: isMinted && this.#format === 'key' ? 'key' : 'json',
      ...(secret !== this.management && terms),
    }));
    return deploy({
      secrets,
      store,
      keys,
      clock,
      managementKey: isMinted ? this.management : undefined,
      policy: this.#policy,
      timeoutMs: this.#options.timeoutMs,
    });
  }

  /** An instance that acts as another process. Another spelling of the address gives it connections of its own. */
  otherInstance(): Instance {
    return this.newInstance({ keys: this.newKeys(this.clock, `ipv4:${this.momento.host}`) });
  }

  /** From now on the function runs in a new process. */
  restart(): void {
    this.#instance = this.newInstance();
  }

  /** The environment of the function in a process of its own. */
  get env(): Readonly<Record<string, string>> {
    const { secret, management, secretManager, momento, keyApi } = this;
    const { role, lifetimeMs } = TERMS;
    const minted = { name: secret.name, role, lifetime: `${lifetimeMs / DAY}d` };
    return {
      ...(this.renewal === 'mint'
        ? { SECRETS: JSON.stringify([minted]), MANAGEMENT_KEY: management.name, REVOKE: 'true' }
        : { SECRETS: secret.name }),
      SECRET_MANAGER_EMULATOR_HOST: secretManager.host,
      MOMENTO_EMULATOR_HOST: momento.host,
      MOMENTO_KEY_API_EMULATOR_HOST: keyApi.host,
    };
  }

  /** The headers of a request that Cloud Scheduler makes now. */
  scheduledNow(skewMs = 0): Record<string, string> {
    return { 'x-cloudscheduler-scheduletime': new Date(this.clock.now() + skewMs).toISOString() };
  }

  /** One request, as Cloud Scheduler makes it. */
  async run({ onCall, headers, body }: RunOptions = {}): Promise<Run> {
    const unread = new Set(['AccessSecretVersion', 'ListSecretVersions']);
    this.keyInvariants.runBegins();
    let ended = (): void => undefined;
    this.onCalls(async (site) => {
      const fault = (await onCall?.(site)) ?? undefined;
      // This run hasn't seen versions that are added from now on.
      const hasAnswer = site.when === 'after' && (fault === undefined || fault.kind === 'slow');
      if (body === undefined && hasAnswer && unread.delete(site.method) && unread.size === 0) {
        ended = this.invariants.runInspected();
      }
      return fault;
    });
    try {
      return await this.runOn(this.#instance, headers, body);
    } finally {
      ended();
      this.onCalls(undefined);
    }
  }

  /** The body of the request for a compromise response. Every delivery has the same body. */
  get response(): object {
    if (this.#response === undefined) {
      const { of = 'secret', revokeFirst = false } = this.#options.response ?? {};
      this.clock.advance(SECOND);
      this.#responseInvariants?.begins();
      this.#response = {
        compromised: true,
        ...(of === 'all' ? { all: true } : { secrets: [this[of].name] }),
        since: new Date(this.clock.now()).toISOString(),
        ...(revokeFirst && { revokeFirst }),
      };
    }
    return this.#response;
  }

  /** A delivery of the request for a compromise response. */
  respond(onCall?: OnCall): Promise<Run> {
    return this.run({ body: this.response, ...(onCall && { onCall }) });
  }

  /** Whether a compromised key still works. */
  get hasCompromisedKeys(): boolean {
    return this.#responseInvariants?.hasWorkingKeys === true;
  }

  /** Sets the hook for all calls from now on, and counts calls from 1 again. */
  onCalls(onCall: OnCall | undefined): void {
    this.#counts.clear();
    this.#onCall = onCall;
  }

  async runOn(
    instance: Instance,
    headers: Readonly<Record<string, string>> = {},
    body?: object,
  ): Promise<Run> {
    const { timeoutMs = TIMEOUT_MS } = this.#options;
    const startedAt = this.clock.monotonic();
    const logged = instance.log.length;
    const reply = await post(instance.handler, headers, body);
    const log = instance.log.slice(logged);
    const { results = [] } = reply.body as { results?: RotationResult[] };
    const [result] = results;
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
    this.#responseInvariants?.ends(results, log);
    return run;
  }

  /**
   * Makes the last run of a case, without faults. The run must recover everything, unless a credential is `lost` for good. If
   * keys are minted, a second run follows when every superseded key can be revoked. `afterFirst` precedes that run.
   */
  async runLast(
    options: {
      lost?: boolean;
      headers?: Readonly<Record<string, string>>;
      afterFirst?: () => void;
    } = {},
  ): Promise<Run> {
    const { lost = false, headers = {}, afterFirst } = options;
    this.clock.advance(SECOND);
    const run = await this.run({ headers });
    const isSingleUse = this.renewal === 'v2' || this.momento.refreshTokens === 'single-use';
    this.invariants.checkLastRun(run, isSingleUse && (lost || this.lostAnswers > 0));
    afterFirst?.();
    if (this.renewal !== 'mint') return run;
    // Calls that outlast their run must have their effect before the clock advances.
    while (this.clock.sleepers > 0) await this.clock.step();
    this.clock.advance(Math.max(HOUR, this.#policy.gracePeriodMs) + MINUTE);
    if (this.newestKeyEndsIn <= 0) this.invariants.excuse('the key expired without a run for days');
    const inUse = this.secretManager.latest(this.management.name);
    const second = await this.run();
    this.invariants.checkLastRun(second, false);
    this.#managementInvariants?.checkLastRun(second, false);
    if (this.#policy.revoke) this.keyInvariants.checkEnd(keyIn(inUse));
    return run;
  }

  /** The versions' states, oldest first. */
  get states(): string[] {
    const versions = this.secretManager.versions(this.secret.name);
    return versions.map(({ state }) => state).toReversed();
  }

  /** Whether the secret exists. */
  get exists(): boolean {
    return this.secretManager.exists(this.secret.name);
  }

  /** Milliseconds until the key that applications get expires; Infinity if it doesn't expire or they get none. */
  get newestKeyEndsIn(): number {
    const payload = this.secretManager.latest(this.secret.name);
    return (this.momento.expiryOf(keyIn(payload)) ?? Infinity) - this.clock.now();
  }

  /** Whether applications have a working key that can be renewed. */
  get canGoOn(): boolean {
    const payload = this.secretManager.latest(this.secret.name);
    const last = payload && readPayload(payload);
    if (last === undefined) return false;
    if (this.renewal !== 'v1') return this.#refusedV2(last) === undefined;
    return this.momento.acceptsRefresh(last.apiKey, last.refreshToken ?? '');
  }

  #invariantsOf(secret: string): Invariants {
    const management = this.#managementInvariants;
    return management !== undefined && secret === this.management.name
      ? management
      : this.invariants;
  }

  get #policy(): RenewalPolicy {
    const given = this.#options.policy ?? EVERY_CALL;
    return { gracePeriodMs: 0, verify: true, revoke: this.renewal === 'mint', ...given };
  }

  get #format(): Format {
    return this.#options.format ?? 'api';
  }

  get #rotated(): readonly SecretName[] {
    const { renewsManagementKey = false, other } = this.#options;
    return [
      this.secret,
      ...(renewsManagementKey ? [this.management] : []),
      ...(other === undefined ? [] : [this.other]),
    ];
  }

  /** The secrets whose keys are compromised. */
  get compromised(): readonly SecretName[] {
    const { of = 'secret' } = this.#options.response ?? {};
    return of === 'all' ? this.#rotated : [this[of]];
  }

  #addOther(key: 'own key' | 'shared key'): void {
    const { secretManager, momento, secret, other } = this;
    secretManager.createSecret(other.name);
    const payload =
      key === 'own key'
        ? mintedPayload(mint(momento, other.name), this.#format, 'other')
        : (secretManager.latest(secret.name) ?? '');
    secretManager.addVersion(other.name, payload);
  }

  /** Returns why a v2 credential isn't acceptable at the end of a case. */
  #refusedV2({ apiKey, refreshToken }: StoredKey): string | undefined {
    const { account } = this.momento;
    const key = account.find(apiKey);
    if (!this.momento.accepts(apiKey)) return "doesn't work";
    if (this.renewal === 'v2') {
      const isItsOwn = key?.refreshToken === refreshToken;
      return isItsOwn && typeof account.refreshable(refreshToken ?? '') === 'object'
        ? undefined
        : "can't be refreshed";
    }
    if (key?.info.description !== descriptionOf(this.secret.name)) return undefined;
    if (refreshToken !== undefined) return 'has a refresh token of another key';
    // The first keys weren't minted by the function.
    if (key.issuedAt < this.#beganAt || this.#options.terms !== undefined) return undefined;
    const { role_id, expires_at_epoch_seconds: expiry = Infinity } = key.info;
    // A function in a process of its own has the real time, which passes.
    const isShort = expiry * SECOND - key.issuedAt <= TERMS.lifetimeMs + MINUTE;
    return role_id === TERMS.role && isShort ? undefined : 'has other terms than configured';
  }

  async #intercept(call: Call, when: Moment): Promise<Fault | undefined> {
    const method = this.#methodOf(call);
    // Note the read in the same synchronous step as its effect.
    const read = when === 'after' ? this.#reads(call) : undefined;
    const isRefresh = method === 'RefreshApiToken' || method === 'RefreshKey';
    const countKeys = () => (isRefresh ? this.momento.secrets().length : 0);
    const arrival = this.#arrivals.get(call) ?? { n: this.#next(method), keys: countKeys() };
    this.#arrivals.set(call, arrival);
    const refreshed = isRefresh && when === 'after' && countKeys() > arrival.keys;
    const fault = (await this.#onCall?.({ call, when, method, n: arrival.n })) ?? undefined;
    // Don't count keys that an operator action in `onCall` issued.
    if (when === 'before') arrival.keys = countKeys();
    if (fault?.kind === 'slow') {
      await this.clock.sleep(fault.ms);
      return undefined;
    }
    if (fault?.kind === 'hang' && call.service === 'secretmanager') {
      // The client's deadline uses the real time, so return the client's error on the virtual clock.
      await this.clock.sleep(STORE_CALL_MS);
      return { kind: 'error', code: status.DEADLINE_EXCEEDED, when: fault.when };
    }
    if (fault === undefined) read?.();
    if (refreshed && fault !== undefined) this.lostAnswers += 1;
    return fault;
  }

  /** Calls for the management key, and calls that only verify a key, have names of their own. */
  #methodOf({ service, method, request }: Call): string {
    if (service === 'keyapi') {
      const { query } = request as { query: URLSearchParams };
      return method === 'ListKeys' && query.get('limit') === '1' ? 'VerifyKey' : method;
    }
    const resource = resourceOf(request);
    const { name } = this.management;
    const isManagement = resource === name || resource.startsWith(`${name}/`);
    return isManagement ? `Management${method}` : method;
  }

  /** Notes that a call reads a version by its number. */
  #reads({ method, request }: Call): (() => void) | undefined {
    if (method !== 'AccessSecretVersion') return undefined;
    const [secret = '', version] = resourceOf(request).split('/versions/');
    return version === 'latest' ? undefined : this.keyInvariants.reads(secret, Number(version));
  }

  #next(method: string): number {
    const n = (this.#counts.get(method) ?? 0) + 1;
    this.#counts.set(method, n);
    return n;
  }
}

/** The secret or version that a call of Secret Manager is about. */
function resourceOf(request: unknown): string {
  const { name, parent, resource } = request as Record<string, string | undefined>;
  // A field that a request doesn't have arrives as an empty text.
  return [name, parent, resource].find((named) => named !== undefined && named !== '') ?? '';
}
