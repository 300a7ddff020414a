import { setTimeout as sleep } from 'node:timers/promises';
import {
  CacheClient,
  type Configuration,
  type CredentialProvider,
  type Middleware,
} from '@gomomento/sdk';
import {
  ClientClosedError,
  InvalidOptionError,
  NoKeyError,
  RotatingClientError,
} from './errors.ts';
import { parseKey, type Key } from './key.ts';
import { fromFunction, type KeySource, type StoredPayload } from './sources.ts';

export interface Options {
  /** Where the key is stored: `secretManager(name)`, `file(path)`, or a function that returns the payload. */
  readonly source: KeySource | (() => Promise<string | Uint8Array>);
  /** A cache for the call that verifies a new key before it is used. The cache doesn't have to be readable. */
  readonly cache: string;
  /** The host for v2 keys that are stored without one, such as `cell-4-us-west-2-1.prod.a.momentohq.com`. */
  readonly endpoint?: string | undefined;
  readonly configuration: Configuration;
  readonly defaultTtlSeconds: number;
  /** How long a new client can take to connect before it gets calls. Default: 5. */
  readonly eagerConnectTimeoutSeconds?: number | undefined;
  /** How long a key is used before the source is read again. Default: 300,000 (5 minutes). */
  readonly rereadEveryMs?: number | undefined;
  /** How long one read of the source can take. Default: 15,000. */
  readonly readTimeoutMs?: number | undefined;
  /** How long Momento can take to accept a new key. Default: 5,000. */
  readonly newKeyTimeoutMs?: number | undefined;
  /** Receives events for logs and metrics. An event contains no secret. Exceptions of the hook are ignored. */
  readonly onEvent?: ((event: RotationEvent) => void) | undefined;
  /** Changes the hosts of a key, for emulators. */
  readonly redirect?: ((credentialProvider: CredentialProvider) => CredentialProvider) | undefined;
  /** The clock in epoch milliseconds, for tests. */
  readonly now?: (() => number) | undefined;
}

export type RotationEvent =
  /** A key is used from now on. `version` is undefined for sources without numbers. */
  | { readonly type: 'rotated'; readonly version?: number; readonly previousVersion?: number }
  /** Momento rejected a call with the key in use. Sent once for each key. */
  | { readonly type: 'rejected'; readonly version?: number }
  /** A read brought no usable key. The key in use, if there is one, stays in use. */
  | { readonly type: 'readFailed'; readonly error: RotatingClientError; readonly version?: number };

export interface CallOptions {
  /** Ends the wait for a key. To cancel the call itself, pass the signal to the SDK as well. */
  readonly signal?: AbortSignal | undefined;
}

export interface CloseOptions {
  /** How long to wait for calls in progress. Calls that take longer don't fail: their client is closed later. Default: 30,000. */
  readonly timeoutMs?: number | undefined;
}

/** The result of one call of the SDK: a union whose members have a type, and which includes the SDK's error. */
export interface Answer {
  readonly type: string;
}

/**
 * A call that returns the SDK's answer unchanged. Any other return value is a type error, because an authentication error
 * would go unnoticed in it.
 */
export type Call<T extends Answer> = (
  client: CacheClient,
) => Promise<T> & ([Extract<T, { errorCode(): string }>] extends [never] ? never : unknown);

/** A key in use and its client. */
interface Generation {
  readonly key: Key;
  version: number | undefined;
  readonly client: CacheClient;
  /** The number of calls in progress, plus 1 while this is the current generation. At 0 the client is closed. */
  uses: number;
  rejected: boolean;
  /** Whether the event `rejected` was sent. */
  reported: boolean;
}

/** The properties that decide whether another version replaces a key. */
type Known = Pick<Generation, 'version' | 'rejected'>;

interface Found {
  readonly key: Key;
  readonly version: number | undefined;
}

const REJECTED = 'AUTHENTICATION_ERROR';
/** Answers that Momento gives only to accepted keys. A key without access to the cache gets PERMISSION_ERROR. */
const ACCEPTED = ['', 'NOT_FOUND_ERROR', 'LIMIT_EXCEEDED_ERROR', 'PERMISSION_ERROR'];
const FIRST_BACKOFF_MS = 1000;
const LONGEST_BACKOFF_MS = 60_000;
const FIRST_PROBE_DELAY_MS = 100;
const LONGEST_PROBE_DELAY_MS = 500;
/** A call is repeated with a newer key this often: two rotations can follow each other closely. */
const ATTEMPTS = 3;

/**
 * A Momento CacheClient that follows its key while the key is rotated.
 *
 * The SDK reads a key when a client is created, and never again. So each new key gets a new client. The new client connects
 * and verifies the key before it gets calls. The old client is closed when its calls have ended.
 */
export class RotatingCacheClient implements AsyncDisposable {
  readonly #options: Options;
  readonly #source: KeySource;
  readonly #now: () => number;
  readonly #middlewares: readonly Middleware[];
  readonly #configuration: Configuration;
  readonly #closing = new AbortController();
  readonly #periodic: Backoff;
  /** Separate from #periodic: failed periodic reads must not delay the read that an authentication error needs. */
  readonly #rescue: Backoff;
  readonly #open = new Set<Generation>();
  #current: Generation | undefined;
  #reading: Promise<void> | undefined;
  #lastError: RotatingClientError | undefined;
  #whenAllClosed: (() => void) | undefined;

  constructor(options: Options) {
    validate(options);
    const { source, configuration, now = Date.now } = options;
    this.#options = options;
    this.#source = typeof source === 'function' ? fromFunction(source) : source;
    this.#now = now;
    this.#periodic = new Backoff(now);
    this.#rescue = new Backoff(now);
    // A client starts and closes its middlewares, and all clients of this object share them.
    this.#middlewares = configuration.getMiddlewares();
    this.#configuration = configuration.withMiddlewares(this.#middlewares.map(shared));
    for (const middleware of this.#middlewares) middleware.init?.();
  }

  /**
   * Makes one call, which must return the SDK's answer unchanged. If Momento rejects the key, reads the source and repeats
   * the call with a newer key: a rejected call had no effect. Don't keep the client, because it will be closed.
   *
   * @throws NoKeyError if there is no usable key
   * @throws ClientClosedError after `close()`
   */
  async use<T extends Answer>(call: Call<T>, { signal }: CallOptions = {}): Promise<T> {
    await this.#ready(signal);
    for (let attempt = 1; ; attempt += 1) {
      const generation = this.#inUse();
      const outcome = await this.#attempt(generation, call);
      if (!outcome.rejected || attempt === ATTEMPTS) return outcome.settle();
      if (!(await this.#findNewerThan(generation, signal))) return outcome.settle();
    }
  }

  /**
   * The key in use, for clients other than CacheClient. If Momento rejected a key, pass it as `rejected` to get a newer one.
   * Resolves with the same key if there is no newer one.
   */
  async credentialProvider(
    options: CallOptions & { readonly rejected?: CredentialProvider | undefined } = {},
  ): Promise<CredentialProvider> {
    const { signal, rejected } = options;
    await this.#ready(signal);
    const generation = this.#inUse();
    if (rejected === generation.key.credentialProvider)
      await this.#findNewerThan(generation, signal);
    return this.#inUse().key.credentialProvider;
  }

  /** Aborts when the client is closed. */
  get closing(): AbortSignal {
    return this.#closing.signal;
  }

  /** Waits for the calls in progress, and closes all clients. Later calls fail with ClientClosedError. */
  async close({ timeoutMs = 30_000 }: CloseOptions = {}): Promise<void> {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort(new ClientClosedError());
    const closed = new Promise<void>((resolve) => (this.#whenAllClosed = resolve)).then(() => {
      for (const middleware of this.#middlewares) middleware.close?.();
    });
    if (this.#current) this.#release(this.#current);
    this.#current = undefined;
    if (this.#open.size === 0) this.#whenAllClosed?.();
    await Promise.race([closed, sleep(timeoutMs, undefined, { ref: false })]);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Waits for the first key. Later it starts a periodic read if that is due, and doesn't wait for it. */
  async #ready(signal: AbortSignal | undefined): Promise<void> {
    this.#closing.signal.throwIfAborted();
    signal?.throwIfAborted();
    // Reads start on use and not by a timer, because Cloud Run gives no CPU between requests.
    if (this.#periodic.isDue) void this.#read();
    if (this.#current === undefined && this.#reading) await unlessAborted(this.#reading, signal);
  }

  /** The generation in use. Read it right before a call: after an `await` the generation might be closed. */
  #inUse(): Generation {
    this.#closing.signal.throwIfAborted();
    if (this.#current) return this.#current;
    throw this.#lastError ?? unread(`${this.#source.name} couldn't be read.`);
  }

  async #attempt<T extends Answer>(
    generation: Generation,
    call: Call<T>,
  ): Promise<{ rejected: boolean; settle: () => T }> {
    generation.uses += 1;
    let outcome;
    try {
      const answer = await call(generation.client);
      outcome = { rejected: codeOf(answer) === REJECTED, settle: () => answer };
    } catch (error) {
      // With `throwOnErrors` the SDK throws its error answers.
      const settle = (): never => {
        throw error;
      };
      outcome = { rejected: codeOf(error) === REJECTED, settle };
    } finally {
      this.#release(generation);
    }
    // During a read, success doesn't show that the key works now: the call might have begun before the key was revoked.
    const isAccepted = !outcome.rejected && this.#reading === undefined;
    if (isAccepted && generation.rejected && generation === this.#current) {
      // Momento accepts the key after all. The next rejection must not wait for a long backoff.
      generation.rejected = false;
      this.#rescue.shorten();
    }
    return outcome;
  }

  /** Looks for a newer key after Momento rejected one. Returns whether a newer key is in use now. */
  async #findNewerThan(rejected: Generation, signal: AbortSignal | undefined): Promise<boolean> {
    if (!rejected.reported) this.#emit({ type: 'rejected', ...versionOf(rejected) });
    rejected.rejected = rejected.reported = true;
    // A read that is in progress might have begun before the rotation.
    if (this.#reading) await unlessAborted(this.#reading, signal);
    if (this.#current === rejected && this.#rescue.isDue) {
      await unlessAborted(this.#read(), signal);
    }
    return this.#current !== undefined && this.#current !== rejected;
  }

  /** Starts a read, or returns the read in progress. The promise never rejects. */
  #read(): Promise<void> {
    return (this.#reading ??= this.#readAndTake().finally(() => (this.#reading = undefined)));
  }

  async #readAndTake(): Promise<void> {
    const held = this.#current;
    const isRescue = held?.rejected === true;
    let error: RotatingClientError | undefined;
    try {
      await this.#takeNewest(held);
    } catch (caught) {
      error = asRotatingClientError(caught, this.#source.name);
    }
    if (this.#closing.signal.aborted) return;
    this.#lastError = error;
    if (error) this.#emit({ type: 'readFailed', error, ...versionOf(held) });
    if (isRescue && this.#current === held) this.#rescue.fail();
    if (this.#current !== held) this.#rescue.reset();
    if (error) this.#periodic.fail();
    else this.#periodic.reset(this.#nextPeriodicRead());
  }

  #nextPeriodicRead(): number {
    const every = this.#options.rereadEveryMs ?? 300_000;
    const left = (this.#current?.key.expiresAt ?? Infinity) - this.#now();
    const wait = left > 0 ? Math.min(every, Math.max(left / 2, FIRST_BACKOFF_MS)) : every;
    // Jitter: many processes that start together must not read together.
    return wait * (1 - Math.random() / 5);
  }

  async #takeNewest(held: Generation | undefined): Promise<void> {
    const found = await this.#findKey(held);
    if (found === undefined) return;
    if (found.key.id === held?.key.id) {
      held.version = found.version;
      return;
    }
    const next = await this.#connectNewest(found);
    if (this.#closing.signal.aborted) {
      // close() has released the key in use.
      this.#release(next);
      return;
    }
    this.#current = next;
    if (held) this.#release(held);
    const previous = held?.version === undefined ? {} : { previousVersion: held.version };
    this.#emit({ type: 'rotated', ...versionOf(next), ...previous });
  }

  /** The newest key; undefined if there is no newer version than the one in use. */
  async #findKey(held: Known | undefined): Promise<Found | undefined> {
    const newest = await this.#withinReadTimeout(this.#source.readNewest());
    try {
      // The newest version that a source names can lag behind. A lower version never replaces a higher one.
      if (isNewer(newest, held)) return { key: this.#parse(newest), version: newest.version };
    } catch (error) {
      const other = await this.#neighbour(held, newest);
      if (other) return other;
      throw error;
    }
    return this.#neighbour(held, newest);
  }

  /**
   * After Momento rejected the key in use: a newer version that `readNewest` doesn't show, because `readNewest` lags or the
   * newest version is unusable. Access by number doesn't lag. The version below an unusable newest version comes first.
   */
  async #neighbour(held: Known | undefined, newest: StoredPayload): Promise<Found | undefined> {
    if (held?.rejected !== true || held.version === undefined) return undefined;
    if (newest.version === undefined || !this.#source.readVersion) return undefined;
    const candidates =
      newest.version > held.version ? [newest.version - 1, newest.version + 1] : [held.version + 1];
    for (const version of candidates.filter((candidate) => candidate > (held.version ?? 0))) {
      const stored = await this.#withinReadTimeout(this.#source.readVersion(version));
      try {
        if (stored) return { key: this.#parse(stored), version };
      } catch {
        // The error of the newest version is the one to report.
      }
    }
    return undefined;
  }

  /** Abandons a read that takes too long, because a source might never answer. */
  async #withinReadTimeout<T>(read: Promise<T>): Promise<T> {
    const { readTimeoutMs = 15_000 } = this.#options;
    const timeout = AbortSignal.timeout(readTimeoutMs);
    return unlessAborted(read, timeout).catch((error: unknown) => {
      throw timeout.aborted
        ? unread(`${this.#source.name} couldn't be read within ${readTimeoutMs / 1000} s.`)
        : error;
    });
  }

  #parse({ payload, version }: StoredPayload): Key {
    const { endpoint, redirect } = this.#options;
    const { name } = this.#source;
    const payloadName = version === undefined ? name : `Version ${version} of ${name}`;
    const key = parseKey(payload, payloadName, endpoint);
    return redirect ? { ...key, credentialProvider: redirect(key.credentialProvider) } : key;
  }

  /**
   * Gives Momento half of `newKeyTimeoutMs` to accept the key. If Momento rejects the key, looks for a newer version: the
   * source might lag, or the key was replaced meanwhile.
   */
  async #connectNewest(found: Found): Promise<Generation> {
    const timeoutMs = (this.#options.newKeyTimeoutMs ?? 5000) / 2;
    try {
      return await this.#connect(found, timeoutMs);
    } catch (error) {
      const isRejected = error instanceof NoKeyError && error.code === 'KEY_REJECTED';
      if (!isRejected) throw error;
      const known = { version: found.version, rejected: true };
      const newer = await this.#findKey(known).catch(() => undefined);
      return this.#connect(newer ?? found, timeoutMs);
    }
  }

  /** Creates a client, lets it connect, and waits until Momento accepts the key. */
  async #connect({ key, version }: Found, timeoutMs: number): Promise<Generation> {
    const { defaultTtlSeconds, eagerConnectTimeoutSeconds = 5 } = this.#options;
    const keyName = version === undefined ? 'the key' : `the key of version ${version}`;
    const client = await CacheClient.create({
      credentialProvider: key.credentialProvider,
      configuration: this.#configuration,
      defaultTtlSeconds,
      eagerConnectTimeout: eagerConnectTimeoutSeconds,
    }).catch((error: unknown) => {
      throw notAccepted(keyName, codeOf(error));
    });
    const generation: Generation = {
      key,
      version,
      client,
      uses: 2,
      rejected: false,
      reported: false,
    };
    this.#open.add(generation);
    // If a client's control connection was never used, close() opens it and leaves it open (SDK 1.118).
    void client
      .listCaches()
      .catch(() => undefined)
      .finally(() => this.#release(generation));
    const giveUpAt = performance.now() + timeoutMs;
    for (let delay = FIRST_PROBE_DELAY_MS; ; delay = Math.min(2 * delay, LONGEST_PROBE_DELAY_MS)) {
      const code = await this.#probe(client);
      if (ACCEPTED.includes(code) && !this.#closing.signal.aborted) return generation;
      if (performance.now() + delay > giveUpAt || this.#closing.signal.aborted) {
        this.#release(generation);
        throw notAccepted(keyName, code);
      }
      // A new key can be unknown to some of Momento's servers for a moment.
      await sleep(delay);
    }
  }

  async #probe(client: CacheClient): Promise<string> {
    try {
      return codeOf(await client.get(this.#options.cache, 'momento-rotating-client'));
    } catch (error) {
      return codeOf(error) || 'UNKNOWN_ERROR';
    }
  }

  #release(generation: Generation): void {
    generation.uses -= 1;
    if (generation.uses > 0) return;
    generation.client.close();
    this.#open.delete(generation);
    if (this.#open.size === 0) this.#whenAllClosed?.();
  }

  #emit(event: RotationEvent): void {
    try {
      this.#options.onEvent?.(event);
    } catch {
      // A broken hook must not fail the calls of the application.
    }
  }
}

/** When the next read can start. Waits twice as long after each failure. */
class Backoff {
  readonly #now: () => number;
  #dueAt = -Infinity;
  #failures = 0;
  #failedAt = 0;

  constructor(now: () => number) {
    this.#now = now;
  }

  get isDue(): boolean {
    return this.#now() >= this.#dueAt;
  }

  fail(): void {
    const wait = Math.min(FIRST_BACKOFF_MS * 2 ** this.#failures, LONGEST_BACKOFF_MS);
    this.#failures += 1;
    this.#failedAt = this.#now();
    this.#dueAt = this.#failedAt + wait * (1 - Math.random() / 5);
  }

  /** Goes back to the first backoff. */
  shorten(): void {
    this.#failures = 0;
    this.#dueAt = Math.min(this.#dueAt, this.#failedAt + FIRST_BACKOFF_MS);
  }

  reset(waitMs = 0): void {
    this.#failures = 0;
    this.#dueAt = this.#now() + waitMs;
  }
}

function validate(options: Options): void {
  const { cache, endpoint, rereadEveryMs, readTimeoutMs, newKeyTimeoutMs } = options;
  if (typeof cache !== 'string' || cache === '') {
    throw new InvalidOptionError('The option `cache` is missing. Set it to the name of a cache.');
  }
  if (endpoint !== undefined && !/^[a-z0-9.-]*$/i.test(endpoint)) {
    throw new InvalidOptionError(
      'The option `endpoint` is invalid. Set it to a host without scheme, port or path.',
    );
  }
  for (const [name, value] of Object.entries({ rereadEveryMs, readTimeoutMs, newKeyTimeoutMs })) {
    if (value !== undefined && !(value > 0)) {
      throw new InvalidOptionError(
        `The option \`${name}\` is invalid. Set it to a number of milliseconds above 0.`,
      );
    }
  }
}

function isNewer({ version }: StoredPayload, held: Known | undefined): boolean {
  return version === undefined || held?.version === undefined || version > held.version;
}

/** The middleware without the hooks that start and end it. */
export function shared(middleware: Middleware): Middleware {
  return {
    onNewRequest: (context) => middleware.onNewRequest(context),
    ...(middleware.shouldLoadLate !== undefined && { shouldLoadLate: middleware.shouldLoadLate }),
  };
}

/** The code of an error that the SDK returned or threw; empty for any other value. */
function codeOf(value: unknown): string {
  const { errorCode } = Object(value) as { errorCode?: unknown };
  return typeof errorCode === 'function' ? String(errorCode.call(value)) : '';
}

function versionOf(generation: Generation | undefined): { version?: number } {
  return generation?.version === undefined ? {} : { version: generation.version };
}

function notAccepted(key: string, code: string): NoKeyError {
  return code === REJECTED
    ? new NoKeyError(
        'KEY_REJECTED',
        `Momento rejects ${key} (${code}).`,
        'Check whether it is revoked, expired or for another endpoint. Run the rotator, or store a valid key.',
      )
    : new NoKeyError(
        'MOMENTO_UNAVAILABLE',
        `Momento couldn't verify ${key} (${code}).`,
        'The client tries again. If this lasts, check the endpoint and the network.',
      );
}

function asRotatingClientError(error: unknown, source: string): RotatingClientError {
  if (error instanceof RotatingClientError) return error;
  // Errors of other libraries can quote the payload.
  return unread(`${source} couldn't be read.`);
}

function unread(problem: string): NoKeyError {
  return new NoKeyError(
    'SOURCE_UNAVAILABLE',
    problem,
    'The client reads it again. If this lasts, check that the source works, for instance its network and permissions.',
  );
}

export async function unlessAborted<T>(
  promise: Promise<T>,
  signal: AbortSignal | undefined,
): Promise<T> {
  if (signal === undefined) return promise;
  signal.throwIfAborted();
  let stop: (() => void) | undefined;
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(signal.reason as Error);
    signal.addEventListener('abort', stop, { once: true });
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    if (stop) signal.removeEventListener('abort', stop);
  }
}
