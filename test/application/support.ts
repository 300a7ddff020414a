import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { Configurations, NoopMomentoLoggerFactory, type CacheClient } from '@gomomento/sdk';
import type { Call, Moment } from '../../emulators/faults';
import type { MomentoEmulator } from '../../emulators/momento';
import type { SecretManagerEmulator } from '../../emulators/secret-manager';
import { startServices, type Services } from '../../emulators/services';
import { localMomento, localSecretManager } from '../../emulators/clients';
import {
  RotatingCacheClient,
  secretManager,
  type Options,
  type RotationEvent,
} from '../../packages/momento-rotating-client/src/index';

export const MINUTE = 60_000;
export const REREAD_EVERY = 5 * MINUTE;

/** Connections of one client: for items, and in all. */
export const CHANNELS = 2;
export const CONNECTIONS = CHANNELS + 1;

/** Options that differ from those of the test bed. */
export type Changes = Partial<Options> & { timeoutMs?: number };

/** An event without its error's text. */
export type Noted = Pick<RotationEvent, 'type' | 'version'> & { code?: string };

/** The emulators, with a secret and connections for each test, and a clock that tests advance. */
export class TestBed {
  readonly secretManager: SecretManagerEmulator;
  readonly momento: MomentoEmulator;
  readonly events: RotationEvent[] = [];
  readonly #services: Services;
  readonly #clients: RotatingCacheClient[] = [];
  #toSecretManager: CountingProxy;
  #toMomento: CountingProxy;
  #secret = '';
  #secrets = 0;
  #now = Date.now();

  private constructor(services: Services) {
    this.#services = services;
    this.secretManager = services.secretManager;
    this.momento = services.momento;
    this.momento.now = this.now;
    this.#toSecretManager = new CountingProxy(this.secretManager.host);
    this.#toMomento = new CountingProxy(this.momento.host);
  }

  static async start(): Promise<TestBed> {
    return new TestBed(await startServices());
  }

  now = (): number => this.#now;

  advance(ms: number): void {
    this.#now += ms;
  }

  /** Ends the previous test, and creates a secret without versions for the next one. */
  async reset(): Promise<void> {
    await this.#disconnect();
    for (const { faults } of [this.secretManager, this.momento]) {
      faults.clear();
      faults.forget();
    }
    this.secretManager.staleLatest = 0;
    this.events.length = 0;
    this.#secrets += 1;
    this.#secret = `projects/p/secrets/s${this.#secrets}`;
    this.secretManager.createSecret(this.#secret);
    this.#toSecretManager = await new CountingProxy(this.secretManager.host).listen();
    this.#toMomento = await new CountingProxy(this.momento.host).listen();
  }

  async stop(): Promise<void> {
    await this.#disconnect();
    await this.#services.stop();
  }

  async #disconnect(): Promise<void> {
    void Promise.all(this.#clients.splice(0).map((client) => client.close()));
    await Promise.all([this.#toSecretManager.stop(), this.#toMomento.stop()]);
  }

  /** Adds a version. */
  store(payload: string): void {
    this.secretManager.addVersion(this.#secret, payload);
  }

  /** Adds a version with a new v2 key. */
  rotate(lifetimeSeconds: number | 'never' = 'never'): { revoke: () => void } {
    const { apiKey } = this.momento.issueV2Key({ lifetimeSeconds });
    this.store(apiKey);
    return { revoke: () => this.momento.revoke(apiKey) };
  }

  client({ timeoutMs = 15_000, ...settings }: Changes = {}): RotatingCacheClient {
    const configuration = Configurations.InRegion.Default.latest(new NoopMomentoLoggerFactory());
    const client = new RotatingCacheClient({
      source: secretManager(this.#secret, localSecretManager(this.#toSecretManager.host)),
      cache: 'cache',
      endpoint: 'cell-2.momento.invalid',
      rereadEveryMs: REREAD_EVERY,
      newKeyTimeoutMs: 50,
      configuration: configuration.withNumConnections(CHANNELS).withClientTimeoutMillis(timeoutMs),
      defaultTtlSeconds: 60,
      onEvent: (event) => void this.events.push(event),
      now: this.now,
      redirect: localMomento(this.#toMomento.host),
      ...settings,
    });
    this.#clients.push(client);
    return client;
  }

  /** The events so far. */
  get noted(): Noted[] {
    return this.events.map((event) => ({
      type: event.type,
      ...(event.version !== undefined && { version: event.version }),
      ...(event.type === 'readFailed' && { code: event.error.code }),
    }));
  }

  /** How often `latest` was read, or another version, since the test began. */
  reads(version: string): number {
    return this.secretManager.faults.calls.filter(
      ({ method, request }) =>
        method === 'AccessSecretVersion' &&
        (request as { name: string }).name === `${this.#secret}/versions/${version}`,
    ).length;
  }

  get isReading(): boolean {
    return this.#toSecretManager.open > 0;
  }

  /** Connections to Momento, open or being opened. */
  get connections(): number {
    return this.#toMomento.open;
  }

  /** Ends all connections to Momento. */
  dropConnections(): void {
    this.#toMomento.drop();
  }

  /** Delays new connections to Momento. */
  holdConnections(): { release: () => void } {
    return this.#toMomento.hold();
  }
}

/** The type or the error code of one call. */
export async function outcome(client: RotatingCacheClient): Promise<string> {
  const answer = await client.use((momento: CacheClient) => momento.get('cache', 'item'));
  return 'errorCode' in answer ? answer.errorCode() : answer.type;
}

/** Delays calls until `release`. */
export class Hold {
  readonly #released = Promise.withResolvers<undefined>();
  #calls = 0;

  /** `when`: before or after a call has its effect. */
  constructor(
    { faults }: SecretManagerEmulator | MomentoEmulator,
    when: Moment,
    isHeld: (call: Call) => boolean,
  ) {
    faults.intercept = async (call, moment) => {
      if (moment !== when || !isHeld(call)) return;
      this.#calls += 1;
      await this.#released.promise;
    };
  }

  /** How many calls have arrived. */
  get calls(): number {
    return this.#calls;
  }

  release(): void {
    this.#released.resolve(undefined);
  }
}

/** A read of the secret. */
export function isRead({ method }: Call): boolean {
  return method === 'AccessSecretVersion';
}

/** A read of the item of `outcome`. */
export function isItem({ method, request }: Call): boolean {
  const { cache_key: key } = request as { cache_key?: Uint8Array };
  return method === 'Get' && Buffer.from(key ?? []).toString() === 'item';
}

/** A call that verifies a new key. */
export function isProbe(call: Call): boolean {
  return call.method === 'Get' && !isItem(call);
}

/** Forwards TCP connections, and counts open ones. */
class CountingProxy {
  readonly #server = createServer({ noDelay: true }, (socket) => this.#accept(socket));
  readonly #target: string;
  readonly #open = new Set<Socket>();
  #held: Promise<unknown> = Promise.resolve();

  constructor(target: string) {
    this.#target = target;
  }

  async listen(): Promise<this> {
    await once(this.#server.listen(0, '127.0.0.1'), 'listening');
    return this;
  }

  get host(): string {
    const { address, port } = this.#server.address() as AddressInfo;
    return `${address}:${port}`;
  }

  get open(): number {
    return this.#open.size;
  }

  hold(): { release: () => void } {
    const { promise, resolve } = Promise.withResolvers<undefined>();
    this.#held = promise;
    return { release: () => resolve(undefined) };
  }

  drop(): void {
    for (const socket of this.#open) socket.destroy();
  }

  async stop(): Promise<void> {
    this.drop();
    if (this.#server.listening) await once(this.#server.close(), 'close');
  }

  #accept(socket: Socket): void {
    const [host, port] = this.#target.split(':');
    const onward = connect({ host, port: Number(port), noDelay: true });
    this.#open.add(socket);
    socket.on('close', () => {
      this.#open.delete(socket);
      onward.destroy();
    });
    onward.on('close', () => socket.destroy());
    for (const end of [socket, onward]) end.on('error', () => end.destroy());
    void this.#held.then(() => socket.pipe(onward).pipe(socket));
  }
}
