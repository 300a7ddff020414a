import { randomBytes } from 'node:crypto';
import { REFRESH_PATH, type KeyApiEmulator } from '../emulators/key-api';
import type { IssuedKey, MomentoEmulator } from '../emulators/momento';
import type { SecretManagerEmulator } from '../emulators/secret-manager';
import { startServices, type Services } from '../emulators/services';
import { VirtualClock } from '../virtual-clock';
import { parseSecretName, type SecretName } from '../../src/secret-name';

export const HOUR = 3600 * 1000;
export const DAY = 24 * HOUR;

/** Resolves when something has become so; rejects when it does not within a time that is long for anything local. */
export async function until(condition: () => boolean, withinMs = 3000): Promise<void> {
  const giveUpAt = Date.now() + withinMs;
  while (!condition()) {
    if (Date.now() > giveUpAt) throw new Error(`never became true: ${condition.toString()}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

export interface Seed {
  /** A name of its own by default. */
  readonly secret?: SecretName;
  /** `projects/P` or `projects/P/locations/L` */
  readonly parent?: string;
  readonly key?: Parameters<MomentoEmulator['issueKey']>[0];
  /** What to store in place of the console's JSON with a note in it. */
  readonly payload?: (key: IssuedKey) => string | Buffer;
  readonly createTime?: number;
  readonly versionDestroyTtlMs?: number;
  /** Set to false where a person leaves readers without a working key. */
  readonly readersAreServed?: boolean;
}

export interface Seeded {
  readonly secret: SecretName;
  readonly key: IssuedKey;
  /** What the payload holds beside the credential, where the test did not choose the payload. */
  readonly note: string;
}

/** The local services, shared by the tests of a file: each test has secrets of its own. */
export class LocalServices {
  /** What was wrong for readers of `latest`, after any change at either service. */
  readonly complaints: string[] = [];
  readonly secretManager: SecretManagerEmulator;
  readonly momento: MomentoEmulator;
  readonly keyApi: KeyApiEmulator;
  readonly #services: Services;
  readonly #watched = new Set<string>();
  #names = 0;
  readonly #notes: string[] = [];

  private constructor(
    services: Services,
    readonly clock: VirtualClock,
  ) {
    this.#services = services;
    this.secretManager = services.secretManager;
    this.momento = services.momento;
    this.keyApi = services.keyApi;
    this.secretManager.onChange(() => this.#lookAfterReaders());
    // The key API has the same account, and so the same changes.
    this.momento.onChange(() => this.#lookAfterReaders());
  }

  static async start(): Promise<LocalServices> {
    const clock = new VirtualClock(Date.now());
    return new LocalServices(await startServices(clock), clock);
  }

  /** The environment in which the function calls these services. */
  get env(): Services['env'] {
    return this.#services.env;
  }

  stop(): Promise<void> {
    return this.#services.stop();
  }

  /** Everything that a test may have changed is as at the start; secrets stay. */
  reset(): void {
    const { secretManager, momento, keyApi, clock } = this;
    for (const { faults } of [secretManager, momento, keyApi]) {
      faults.clear();
      faults.forget();
    }
    secretManager.quotas = {};
    secretManager.isEnabled = true;
    secretManager.refusal = undefined;
    secretManager.maxPageSize = 25_000;
    secretManager.pageOverlap = 0;
    secretManager.endlessPages = undefined;
    secretManager.rewrite = undefined;
    secretManager.additionDelayMs = 0;
    secretManager.hasEtags = true;
    secretManager.staleLists = 0;
    secretManager.staleLatest = 0;
    momento.now = clock.now;
    momento.refreshTokens = 'reusable';
    momento.newKeyLagMs = 0;
    momento.newKeyRejections = 0;
    keyApi.refreshPath = REFRESH_PATH;
    keyApi.callsPerSecond = undefined;
    keyApi.newKeyLagMs = 0;
    keyApi.newKeyRejections = 0;
    keyApi.expiredKeys = 'gone';
    momento.account.refreshTokens = 'single-use';
    keyApi.limits = {};
    this.#watched.clear();
    this.complaints.length = 0;
  }

  /** A name that no other test uses. */
  newName(parent = 'projects/p'): SecretName {
    this.#names += 1;
    const name = parseSecretName(`${parent}/secrets/s${this.#names}`);
    if (name === undefined) throw new Error(`not a parent: ${parent}`);
    return name;
  }

  /** A secret whose first version holds a key from the console; whoever reads it has to be served from now on. */
  seed({ parent, key: options, payload, ...rest }: Seed = {}): Seeded {
    const secret = rest.secret ?? this.newName(parent);
    const key = this.momento.issueKey(options);
    const note = randomBytes(12).toString('base64url');
    this.#notes.push(note);
    const { versionDestroyTtlMs, createTime, readersAreServed = true } = rest;
    this.secretManager.createSecret(secret.name, {
      ...(versionDestroyTtlMs !== undefined && { versionDestroyTtlMs }),
    });
    this.secretManager.addVersion(secret.name, payload?.(key) ?? withNote(key, note), {
      ...(createTime !== undefined && { createTime }),
    });
    if (readersAreServed) this.watch(secret);
    return { secret, key, note };
  }

  /** From now on whoever reads the secret has to be served. */
  watch({ name }: SecretName): void {
    this.#watched.add(name);
  }

  /** Everything that the function may not tell anybody. */
  get secrets(): string[] {
    return [...this.momento.secrets(), ...this.#notes];
  }

  /** The versions' states, oldest first. */
  states({ name }: SecretName): string[] {
    return this.secretManager
      .versions(name)
      .map(({ state }) => state)
      .toReversed();
  }

  /** What a reader of `latest` gets. */
  latest({ name }: SecretName): Record<string, unknown> {
    const payload = this.secretManager.latest(name);
    if (payload === undefined) throw new Error(`readers of ${name} get nothing`);
    return JSON.parse(payload.toString()) as Record<string, unknown>;
  }

  /** The methods that were called, in order. */
  get called(): string[] {
    const services = [this.secretManager, this.momento, this.keyApi];
    return services.flatMap(({ faults }) => faults.calls.map(({ method }) => method));
  }

  timesCalled(method: string): number {
    return this.called.filter((called) => called === method).length;
  }

  #lookAfterReaders(): void {
    for (const name of this.#watched) {
      const [newest] = this.secretManager.versions(name);
      if (newest?.state !== 'ENABLED') {
        this.complaints.push(`${name}: the newest version is ${newest?.state ?? 'missing'}`);
      }
      const payload = this.secretManager.latest(name);
      if (payload === undefined || !this.momento.accepts(keyIn(payload))) {
        this.complaints.push(`${name}: readers of latest have no key that Momento accepts`);
      }
    }
  }
}

/** The API key in a payload of any form, by whichever name. */
export function keyIn(payload: Buffer): string {
  const text = payload.toString().trim();
  if (!text.startsWith('{')) return text;
  const fields = JSON.parse(text) as Record<string, unknown>;
  return String(fields.apiKey ?? fields.authToken ?? fields.apiToken ?? fields.api_key).trim();
}

function withNote({ consoleJson }: IssuedKey, note: string): string {
  return JSON.stringify({ ...(JSON.parse(consoleJson) as object), note });
}
