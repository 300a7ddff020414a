/** Momento's HTTP API for v2 keys (public-dev-docs: api-keys-http-api.md). One method makes one attempt. */
import type { Clock } from '../clock';
import { SECOND } from '../duration';
import { RotationError } from '../errors';
import type { RateLimiter } from '../rate-limiter';
import { retry } from '../retry';
import { ISSUE_TIMEOUT, type CallLimits, type KeyCheck } from '../rotation/ports';
import { isEpochSeconds, isId } from './api-key';
import {
  invalidIssue,
  limitExceeded,
  ManagementKeyRefused,
  mintRefused,
  pathUnknown,
  throttled,
  unavailable,
} from './errors';
import { HttpClient, type HttpAnswer, type Exchange, type HttpOptions } from './http-client';
import { isObject, type Fields } from './payload';

export const REFRESH_PATH = '/api-keys/refresh';
export const ADDRESS = 'https://mga.registry.prod.a.momentohq.com';

/** Momento documents 5 operations a second and account. The extra 100 ms allow for jitter in the network. */
export const RATE = { calls: 5, windowMs: 1_100, service: "Momento's key API" };

/** The order of calls that wait for the rate limiter. */
export const PRIORITY = {
  compromise: 0,
  issue: 1,
  verifyNew: 2,
  list: 3,
  verifyNewest: 4,
  revoke: 5,
} as const;

/** The longest `key_info` that is stored. It must be shorter than GROWTH_BYTES, the room for the next key in a payload. */
const MAX_KEY_INFO_LENGTH = 1024;

const KEYS_PER_PAGE = 100;
/** A million keys. The deadline ends a list much earlier. */
const MAX_KEY_PAGES = 10_000;
/** How long to retry for a page, so that a long list survives a short outage. */
const PAGE_RETRY = 15 * SECOND;

interface KeyApiOptions {
  /** `host:port` of an emulator in place of Momento. */
  readonly emulator?: string | undefined;
  readonly refreshPath?: string | undefined;
  readonly limiter: RateLimiter;
  /** Whether the calls of this instance go before the calls of all other instances. */
  readonly isUrgent?: boolean | undefined;
  readonly clock: Clock;
  /** The name of the secret with the management key, for messages. */
  readonly managementSecret?: string | undefined;
  /** Set to share lists with other instances. */
  readonly waitingLists?: WaitingLists | undefined;
  readonly http?: Omit<HttpOptions, 'clock'> | undefined;
}

/** Lists of keys whose first call hasn't begun, by priority, deadline and API key. Equal requests share a list. */
export type WaitingLists = Map<string, Promise<KeyList>>;

export interface MintRequest {
  /** The name of the secret, for messages. */
  readonly secret: string;
  readonly role: string;
  readonly description: string;
  /** Milliseconds since the epoch. */
  readonly expiresAt: number;
}

/** A key without the key itself. Times are in milliseconds since the epoch. */
export interface ListedKey {
  readonly keyId: string;
  readonly role: string;
  readonly description: string | undefined;
  readonly issuedAt: number;
  /** Infinity for a key that never expires. */
  readonly expiresAt: number;
}

export interface KeyList {
  readonly keys: ReadonlyMap<string, ListedKey>;
  /** How many entries couldn't be read. */
  readonly skipped: number;
}

/** The final refusal of a refresh. */
export class RefreshRefused extends RotationError {
  constructor(
    /** Momento's status or code. */
    readonly answer: string,
    /** A sentence. */
    readonly reason: string,
  ) {
    super('REFRESH_REFUSED', {
      problem: `Momento refused to refresh the key (${answer}). ${reason}`,
      action: 'Check the account in the Momento console.',
    });
  }
}

export class KeyApi {
  readonly #options: KeyApiOptions;
  readonly #http: HttpClient;

  constructor(options: KeyApiOptions) {
    this.#options = options;
    const { emulator, clock, http } = options;
    const address = emulator === undefined ? ADDRESS : `http://${emulator}`;
    this.#http = new HttpClient(new URL(address), { clock, ...http });
  }

  /** The host, for messages. */
  get host(): string {
    return this.#http.host;
  }

  /** @returns the fields of the answer, unchecked */
  async mint(apiKey: string, request: MintRequest, limits: CallLimits): Promise<Fields> {
    const { secret, role, description, expiresAt } = request;
    const exchange = {
      method: 'POST',
      path: '/api-keys',
      authorization: apiKey,
      body: {
        role_id: role,
        description,
        expiry: Math.floor(expiresAt / SECOND),
        exclude_refresh_token: true,
      },
    } as const;
    const answer = await this.#send(exchange, PRIORITY.issue, limits, 'the mint');
    if (answer.status === 401 || answer.status === 403) {
      throw this.#managementKeyRefused(answer.status, 'mint keys');
    }
    if (!isSuccess(answer)) throw mintRefused(secret, role, answer.status);
    return issuedFields(answer, 'mint');
  }

  /**
   * Sends the refresh token in `Authorization`, where other calls send a key.
   *
   * @returns the fields of the answer, unchecked
   * @throws RotationError RefreshRefused for a final refusal
   */
  async refresh(refreshToken: string, limits: CallLimits): Promise<Fields> {
    const { refreshPath: path = REFRESH_PATH } = this.#options;
    const exchange = { method: 'POST', path, authorization: refreshToken, body: {} } as const;
    const answer = await this.#send(exchange, PRIORITY.issue, limits, 'the refresh');
    const { status } = answer;
    if (isSuccess(answer)) return issuedFields(answer, 'refresh');
    if (status === 404 || status === 405) throw pathUnknown(path, status);
    throw new RefreshRefused(
      `HTTP ${status}`,
      status === 401
        ? 'The refresh token is invalid, or its key has expired or was revoked.'
        : status === 403
          ? 'The refresh token was already used, or the account is locked. An earlier run or another deployment might have used the token.'
          : "Momento doesn't document this answer.",
    );
  }

  /**
   * Lists every key of the account. Entries that can't be read are skipped and counted. Callers that wait for the rate limiter
   * at the same time share one list. Otherwise a response for 400 compromised keys would read 400 long lists.
   */
  list(apiKey: string, limits: CallLimits): Promise<KeyList> {
    const { waitingLists = new Map<string, Promise<KeyList>>() } = this.#options;
    const name = [this.#priority(PRIORITY.list), limits.deadline, apiKey].join(' ');
    const waiting = waitingLists.get(name);
    if (waiting !== undefined) return waiting;
    const end = (): boolean => waitingLists.delete(name);
    const list = this.#list(apiKey, limits, end);
    waitingLists.set(name, list);
    list.catch(() => {
      if (waitingLists.get(name) === list) end();
    });
    return list;
  }

  async #list(apiKey: string, limits: CallLimits, onBegin: () => void): Promise<KeyList> {
    const keys = new Map<string, ListedKey>();
    const tokens = new Set<string>();
    let skipped = 0;
    for (let token = ''; ;) {
      const page = await this.#repeatedPage(apiKey, token, limits, onBegin);
      for (const entry of page.entries) {
        const key = readListedKey(entry);
        const known = key && keys.get(key.keyId);
        // Pages can overlap. Entries that contradict each other count as unreadable.
        if (key === undefined || (known && !isSameEntry(known, key))) skipped += 1;
        else keys.set(key.keyId, key);
      }
      token = page.nextToken;
      if (token === '') return { keys, skipped };
      if (tokens.has(token) || tokens.size >= MAX_KEY_PAGES) {
        throw unavailable(this.host, `answered with a list of keys that doesn't end`);
      }
      tokens.add(token);
    }
  }

  /**
   * Waits until this many keys can be revoked at once.
   *
   * @returns a function to call right before the revocations
   */
  async waitToRevoke(slots: number, { deadline }: CallLimits): Promise<() => void> {
    const { limiter } = this.#options;
    const priority = this.#priority(PRIORITY.revoke);
    const at = await limiter.acquire({ priority, slots, deadline });
    return () => limiter.beginNow(at, slots);
  }

  /** Revokes a key after `waitToRevoke`. If the key is already gone, it counts as revoked. */
  async revoke(apiKey: string, keyId: string, limits: CallLimits): Promise<void> {
    const path = `/api-keys/${encodeURIComponent(keyId)}`;
    const exchange = { method: 'DELETE', path, authorization: apiKey } as const;
    const answer = await this.#call(exchange, limits, 'the revocation of a key');
    if (isSuccess(answer) || answer.status === 404) return;
    throw this.#unexpected(answer, 'revoke keys', 'the revocation of a key');
  }

  /**
   * Verifies a key by listing keys with it. Most keys can't list keys, but 403 also shows that Momento accepts the key.
   *
   * @param mustList whether to reject a key that isn't allowed to list keys
   */
  async check(
    apiKey: string,
    { priority, mustList }: { priority: number; mustList: boolean },
    limits: CallLimits,
  ): Promise<KeyCheck> {
    const exchange = { method: 'GET', path: '/api-keys?limit=1', authorization: apiKey } as const;
    const answer = await this.#send(exchange, priority, limits, 'the verification of a key');
    const { status } = answer;
    // Momento's errors are JSON. A 403 without JSON comes from a system on the way, such as a firewall.
    const isDenied = status === 403 && readFields(answer) !== undefined;
    if (isSuccess(answer) || (isDenied && !mustList)) return { verdict: 'accepted' };
    if (status === 403 && !isDenied) {
      const problem = `${this.host} answered HTTP 403 without Momento's error`;
      return { verdict: 'inconclusive', problem };
    }
    return status === 401 || status === 403
      ? { verdict: 'rejected', host: this.host, byIssuer: true }
      : { verdict: 'inconclusive', problem: `${this.host} answered HTTP ${status}` };
  }

  close(): void {
    this.#http.close();
  }

  /** Reads a page. Retries every page except the first, because the caller's retry would read all pages again. */
  #repeatedPage(
    apiKey: string,
    token: string,
    limits: CallLimits,
    onBegin: () => void,
  ): Promise<Page> {
    const { clock } = this.#options;
    if (token === '') return this.#page(apiKey, token, limits, onBegin);
    const until = Math.min(limits.deadline, clock.monotonic() + PAGE_RETRY);
    return retry(
      clock,
      () => this.#page(apiKey, token, limits),
      () => until,
    );
  }

  async #page(
    apiKey: string,
    token: string,
    limits: CallLimits,
    onBegin?: () => void,
  ): Promise<Page> {
    const query = new URLSearchParams({
      limit: String(KEYS_PER_PAGE),
      ...(token !== '' && { next_token: token }),
    });
    const path = `/api-keys?${query.toString()}`;
    const exchange = { method: 'GET', path, authorization: apiKey } as const;
    const answer = await this.#send(exchange, PRIORITY.list, limits, 'the list of keys', onBegin);
    if (!isSuccess(answer)) throw this.#unexpected(answer, 'list keys', 'the list of keys');
    const page = readPage(answer);
    if (page === undefined) {
      throw unavailable(this.host, 'answered with an invalid list of keys');
    }
    return page;
  }

  /** Sends a request when the rate limiter allows it. */
  async #send(
    exchange: Exchange,
    priority: number,
    limits: CallLimits,
    call: string,
    onBegin?: () => void,
  ): Promise<HttpAnswer> {
    const { limiter } = this.#options;
    await limiter.acquire({ priority: this.#priority(priority), deadline: limits.deadline });
    onBegin?.();
    if (priority !== PRIORITY.issue) return this.#call(exchange, limits, call);
    // The run leaves enough time for an issue.
    return this.#call(exchange, { deadline: Infinity }, call, ISSUE_TIMEOUT);
  }

  #priority(usual: number): number {
    return this.#options.isUrgent === true ? PRIORITY.compromise : usual;
  }

  /** @throws RotationError for an answer that a retry can change */
  async #call(
    exchange: Exchange,
    limits: CallLimits,
    call: string,
    timeoutMs?: number,
  ): Promise<HttpAnswer> {
    const answer = await this.#http.send(exchange, limits, timeoutMs);
    const { status } = answer;
    const retryAfterMs = readRetryAfter(answer.retryAfter, this.#options.clock.now());
    const outcomeUnknown = exchange.method !== 'GET';
    if (status === 429) {
      throw exchange.method === 'POST'
        ? limitExceeded({ call, answer: 'HTTP 429', retryAfterMs })
        : throttled(call, retryAfterMs);
    }
    if (status >= 300 && status < 400) {
      throw unavailable(
        this.host,
        `answered ${call} with a redirect (HTTP ${status}), which isn't followed`,
        { outcomeUnknown },
        'Find out what answers for this host, for instance a proxy that asks for a login.',
      );
    }
    if (status >= 500 || status === 408 || status === 425) {
      throw unavailable(this.host, `answered ${call} with HTTP ${status}`, {
        retryAfterMs,
        outcomeUnknown,
      });
    }
    return answer;
  }

  #unexpected({ status }: HttpAnswer, right: string, call: string): RotationError {
    return status === 401 || status === 403
      ? this.#managementKeyRefused(status, right)
      : unavailable(this.host, `answered ${call} with HTTP ${status}, which isn't documented`);
  }

  #managementKeyRefused(status: 401 | 403, right: string): RotationError {
    return new ManagementKeyRefused(
      this.#options.managementSecret ?? 'MANAGEMENT_KEY',
      status,
      right,
    );
  }
}

/** The description of a key in an answer; undefined if it is invalid, or too long to be stored beside the key. */
export function readKeyInfo(value: unknown): Fields | undefined {
  if (readListedKey(value) === undefined) return undefined;
  return JSON.stringify(value).length <= MAX_KEY_INFO_LENGTH ? (value as Fields) : undefined;
}

interface Page {
  readonly entries: readonly unknown[];
  readonly nextToken: string;
}

function readPage(answer: HttpAnswer): Page | undefined {
  const fields = readFields(answer);
  const { key_info: entries, next_token: token } = fields ?? {};
  const isToken = token == null || (typeof token === 'string' && token.length <= 4096);
  if (!isToken || (entries !== null && !Array.isArray(entries))) return undefined;
  return { entries: entries ?? [], nextToken: token ?? '' };
}

function readListedKey(value: unknown): ListedKey | undefined {
  if (!isObject(value)) return undefined;
  const { key_id, role_id, issued_at_epoch_seconds: issuedAt } = value;
  const description = value.description ?? undefined;
  const expiresAt = value.expires_at_epoch_seconds ?? Infinity;
  const isDescription = description === undefined || typeof description === 'string';
  if (!isId(key_id) || !isId(role_id) || !isDescription || !isEpochSeconds(issuedAt)) {
    return undefined;
  }
  if (expiresAt !== Infinity && !(isEpochSeconds(expiresAt) && expiresAt > issuedAt)) {
    return undefined;
  }
  return {
    keyId: key_id,
    role: role_id,
    description,
    issuedAt: issuedAt * SECOND,
    expiresAt: expiresAt * SECOND,
  };
}

function isSameEntry(one: ListedKey, other: ListedKey): boolean {
  return (
    one.role === other.role &&
    one.description === other.description &&
    one.issuedAt === other.issuedAt &&
    one.expiresAt === other.expiresAt
  );
}

function issuedFields(answer: HttpAnswer, what: 'mint' | 'refresh'): Fields {
  const fields = readFields(answer);
  if (fields !== undefined) return fields;
  throw invalidIssue(what, `it ${answer.problem ?? "isn't a JSON object"}`);
}

function readFields({ text = '' }: HttpAnswer): Fields | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function isSuccess({ status }: HttpAnswer): boolean {
  return status >= 200 && status < 300;
}

/** Reads the header `Retry-After`, which contains seconds or a date. */
function readRetryAfter(header: string | undefined, now: number): number {
  if (header === undefined) return 0;
  const ms = /^\d+$/.test(header) ? Number(header) * SECOND : Date.parse(header) - now;
  return Number.isFinite(ms) ? Math.max(0, ms) : 0;
}
