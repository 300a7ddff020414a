/** One secret, the services that hold it, and the function in this process: what a case of the campaign plays in. */
import { randomBytes } from 'node:crypto';
import { PassThrough, Readable } from 'node:stream';
import type { Request, Response } from '@google-cloud/functions-framework';
import { Fleet } from '../../src/fleet/fleet';
import { createHandler, type Handler } from '../../src/http/handler';
import type { LogEntry } from '../../src/log';
import { MomentoKeys } from '../../src/momento/keys';
import type { Clock } from '../../src/retry';
import type { RenewalPolicy } from '../../src/rotation/decide';
import type { KeySource, SecretStore } from '../../src/rotation/ports';
import type { RotationResult } from '../../src/rotation/report';
import { parseSecretName, type SecretName } from '../../src/secret-name';
import { SecretManagerStore } from '../../src/secret-manager/store';
import type { Call, Fault, Moment } from '../emulators/faults';
import { MomentoEmulator } from '../emulators/momento';
import { SecretManagerEmulator } from '../emulators/secret-manager';
import { Invariants, type Ending } from './invariants';

export const SECOND = 1000;
export const HOUR = 3600 * SECOND;
export const DAY = 24 * HOUR;

/** The function's timeout in all cases; the platform kills a run that takes longer. */
export const TIMEOUT_MS = 540 * SECOND;

/**
 * Real time, in which nobody has to wait: a sleep is over at once, and moves the clock. Sleeps at the same time move it
 * once, as they would real time.
 */
export class SkippingClock implements Clock {
  #skipped = 0;

  readonly now = (): number => Date.now() + this.#skipped;

  async sleep(ms: number): Promise<void> {
    const end = this.now() + ms;
    // What is under way goes on first.
    await new Promise((resolve) => setImmediate(resolve));
    this.advance(Math.max(0, end - this.now()));
  }

  advance(ms: number): void {
    this.#skipped += ms;
  }
}

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
}

/** With this a rotation makes every call there is: it disables one version and destroys another. */
export const EVERY_CALL: Partial<RenewalPolicy> = { gracePeriodMs: 0, destroyAfterMs: DAY };

/**
 * A Secret Manager and its clients, for one scene after the other: the client is slow to make, and knows nothing of any
 * secret.
 */
export class Stage {
  readonly store: SecretManagerStore;
  #scenes = 0;

  private constructor(readonly secretManager: SecretManagerEmulator) {
    this.store = new SecretManagerStore(secretManager.host);
  }

  static async start(): Promise<Stage> {
    return new Stage(await SecretManagerEmulator.start());
  }

  stop(): Promise<void> {
    return this.secretManager.stop();
  }

  nextName(): string {
    this.#scenes += 1;
    return `projects/p/secrets/s${this.#scenes}`;
  }
}

/** One instance of the function: what it keeps in memory is its own. */
export interface Instance {
  readonly handler: Handler;
  readonly log: LogEntry[];
}

export class Scene {
  readonly clock = new SkippingClock();
  readonly secretManager: SecretManagerEmulator;
  readonly momento: MomentoEmulator;
  readonly secret: SecretName;
  readonly invariants: Invariants;
  /** Refreshes that took effect, and whose answer did not reach the function. */
  lostAnswers = 0;

  readonly #options: SceneOptions;
  readonly #stage: Stage;
  readonly #counts = new Map<string, number>();
  readonly #arrivals = new WeakMap<Call, { n: number; keys: number }>();
  #direct: Director | undefined;
  #instance: Instance;

  private constructor(stage: Stage, momento: MomentoEmulator, options: SceneOptions) {
    const { ageMs = 29 * DAY, lifeLeftMs = DAY, versionDestroyTtlMs } = options;
    this.#options = options;
    this.#stage = stage;
    this.secretManager = stage.secretManager;
    this.momento = momento;
    this.secretManager.now = momento.now = this.clock.now;
    this.secretManager.staleLists = this.secretManager.staleLatest = 0;
    this.secretManager.quotas = {};
    momento.refreshTokens = options.refreshTokens ?? 'reusable';
    this.secret = secretName(stage.nextName());

    const { name } = this.secret;
    const note = randomBytes(12).toString('base64url');
    const now = this.clock.now();
    this.secretManager.createSecret(name, {
      ...(versionDestroyTtlMs !== undefined && { versionDestroyTtlMs }),
    });
    this.secretManager.addVersion(name, 'an older credential', {
      createTime: now - ageMs - DAY,
      state: 'DISABLED',
    });
    this.secretManager.addVersion(name, this.credential({ ageMs, lifeLeftMs, note }), {
      createTime: now - ageMs,
    });
    this.invariants = new Invariants(this, name, [note]);
    this.#instance = this.newInstance();

    const intercept = (call: Call, when: Moment) => this.#intercept(call, when);
    for (const { faults } of [this.secretManager, momento]) {
      faults.forget();
      faults.intercept = intercept;
    }
  }

  static async open(stage: Stage, options: SceneOptions = {}): Promise<Scene> {
    return new Scene(stage, await MomentoEmulator.start(), options);
  }

  /** Ends the scene; returns what was violated. */
  async close(): Promise<readonly string[]> {
    this.invariants.judgeWritten();
    this.invariants.stop();
    this.secretManager.faults.clear();
    if (this.secretManager.versions(this.secret.name).length > 0) {
      this.secretManager.deleteSecret(this.secret.name);
    }
    await this.momento.stop();
    return this.invariants.violations;
  }

  /** A credential as the console gives it. */
  credential(options: { ageMs?: number; lifeLeftMs?: number; note?: string } = {}): string {
    const { ageMs = 0, lifeLeftMs = 30 * DAY, note = 'of a person' } = options;
    const { momento } = this;
    const now = momento.now;
    momento.now = () => now() - ageMs;
    const { consoleJson } = momento.issueKey({ lifetimeSeconds: (ageMs + lifeLeftMs) / SECOND });
    momento.now = now;
    return JSON.stringify({ ...(JSON.parse(consoleJson) as object), note });
  }

  /** Another instance of the function, as after a start of its process. */
  newInstance(
    ports: { store?: SecretStore; keys?: KeySource; clock?: Clock; secret?: SecretName } = {},
  ): Instance {
    const { timeoutMs = TIMEOUT_MS } = this.#options;
    const {
      store = this.#stage.store,
      clock = this.clock,
      keys = new MomentoKeys({ emulator: this.momento.host, clock }),
      secret = this.secret,
    } = ports;
    const policy: RenewalPolicy = {
      gracePeriodMs: 0,
      verify: true,
      revoke: false,
      ...(this.#options.policy ?? EVERY_CALL),
    };
    const secrets = [{ ...secret, payload: 'json' }] as const;
    const fleet = new Fleet({ secrets, store, keys, policy, clock });
    const log: LogEntry[] = [];
    const handler = createHandler({
      fleet,
      timeoutMs,
      traceProject: 'p',
      clock,
      log: (entry) => log.push(entry),
    });
    return { handler, log };
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
    let ended = (): void => undefined;
    this.aim(async (site) => {
      const fault = await options.strike?.(site);
      // What is added from now on, this run has not seen.
      if (site.when === 'after' && unseen.delete(site.method) && unseen.size === 0) {
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
    const startedAt = this.clock.now();
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
    this.invariants.ends(run, this.clock.now() - startedAt - timeoutMs);
    return run;
  }

  /** The last run of a case, without faults, which has to put everything right unless a key is `lost` for good. */
  async runLast(
    options: { lost?: boolean; headers?: Readonly<Record<string, string>> } = {},
  ): Promise<Run> {
    const { lost = false, headers = {} } = options;
    this.clock.advance(SECOND);
    const run = await this.run({ headers });
    const isSingleUse = this.momento.refreshTokens === 'single-use';
    this.invariants.judgeLastRun(run, isSingleUse && (lost || this.lostAnswers > 0));
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

  async #intercept(call: Call, when: Moment): Promise<Fault | undefined> {
    const { method } = call;
    const keys = this.momento.secrets().length;
    const arrival = this.#arrivals.get(call) ?? { n: this.#next(method), keys };
    this.#arrivals.set(call, arrival);
    const refreshed = method === 'RefreshApiToken' && when === 'after' && keys > arrival.keys;
    const fault = await this.#direct?.({ call, when, method, n: arrival.n });
    // What a person did before the call took effect is not the call's effect.
    if (when === 'before') arrival.keys = this.momento.secrets().length;
    if (fault?.kind === 'slow') {
      await this.clock.sleep(fault.ms);
      return undefined;
    }
    if (refreshed && fault !== undefined) this.lostAnswers += 1;
    return fault;
  }

  #next(method: string): number {
    const n = (this.#counts.get(method) ?? 0) + 1;
    this.#counts.set(method, n);
    return n;
  }
}

interface HandlerCall {
  readonly method?: string;
  readonly path?: string;
  readonly body?: Buffer;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Calls a handler without a server, which is functions-framework's part. */
export async function call(
  handler: Handler,
  { method = 'POST', path = '/', body, headers = {} }: HandlerCall = {},
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
  const request = Object.assign(Readable.from(body === undefined ? [] : [body]), {
    method,
    path,
    headers,
    get: (name: string) => headers[name.toLowerCase()],
  });
  await handler(request as unknown as Request, response);
  return answer;
}

export function secretName(name: string): SecretName {
  const secret = parseSecretName(name);
  if (secret === undefined) throw new Error(`${name} is not a secret's name`);
  return secret;
}
