import { randomBytes } from 'node:crypto';
import { Account, answerOf, type Key, type Lag } from './account';
import { HttpHost, HttpRefusal, type HttpAnswer, type HttpRequest } from './http-host';
import { Emulator } from './emulator';

/** The path of the refresh, as Momento documents it. */
export const REFRESH_PATH = '/api-keys/refresh';

/** Checks the type of a field. */
type Check = (value: unknown) => boolean;

interface Fields {
  readonly required: Readonly<Record<string, Check>>;
  readonly optional: Readonly<Record<string, Check>>;
}

const isString: Check = (value) => typeof value === 'string';
const isBoolean: Check = (value) => typeof value === 'boolean';
const isEpochSeconds: Check = (value) => Number.isSafeInteger(value) && Number(value) >= 0;

const CREATE: Fields = {
  required: {
    role_id: isString,
    description: isString,
    expiry: (value) => value === 'never' || isEpochSeconds(value),
  },
  optional: { exclude_refresh_token: isBoolean },
};
const REFRESH: Fields = { required: {}, optional: { expiration_epoch_seconds: isEpochSeconds } };

/**
 * Momento's HTTP API for v2 keys: mints, lists, revokes and refreshes keys. The emulator is as strict as Momento's
 * documentation. If the documentation leaves a choice, the emulator refuses the request.
 */
export class KeyApiEmulator extends Emulator {
  /** How many calls a second the account can make; other calls are throttled. Unlimited if undefined. */
  callsPerSecond: number | undefined;
  /** How long this emulator and the emulator of Momento reject a key that this emulator issued. */
  newKeyLagMs = 0;
  /** How many calls with a new key are rejected before the key is accepted. */
  newKeyRejections = 0;
  /** Whether an expired key can still be listed and revoked. */
  expiredKeys: 'gone' | 'listed' = 'gone';
  /** How many live keys the account can have. Momento has a limit and doesn't publish it; unlimited if undefined. */
  maxKeys: number | undefined;
  /** Requests above these limits fail with 400. Momento doesn't document its limits. */
  limits: { descriptionLength?: number; lifetimeSeconds?: number } = {};

  readonly #http: HttpHost;
  /** The number of the last key on a page, by the `next_token` of the page. */
  readonly #pages = new Map<string, number>();
  #refreshPath = REFRESH_PATH;
  #callTimes: number[] = [];

  private constructor(
    /** Shared with the emulator of Momento. */
    readonly account: Account,
  ) {
    const http = new HttpHost('keyapi');
    super(http, account);
    this.#http = http;
    this.refreshPath = REFRESH_PATH;
    http.serve({
      CreateKey: { method: 'POST', path: /^\/api-keys$/, act: (request) => this.#create(request) },
      ListKeys: { method: 'GET', path: /^\/api-keys$/, act: (request) => this.#list(request) },
      RevokeKey: {
        method: 'DELETE',
        path: /^\/api-keys\/(?<id>[^/]+)$/,
        act: (request) => this.#revoke(request),
      },
    });
  }

  /** Starts the service on a free loopback port. */
  static start(options: { now?: () => number; account?: Account } = {}): Promise<KeyApiEmulator> {
    const { now = Date.now, account = new Account(now) } = options;
    return new KeyApiEmulator(account).listen();
  }

  get refreshPath(): string {
    return this.#refreshPath;
  }

  set refreshPath(path: string) {
    this.#refreshPath = path;
    const literally = path.replaceAll(/[^\w/]/g, '\\$&');
    this.#http.serve({
      RefreshKey: {
        method: 'POST',
        path: new RegExp(`^${literally}$`),
        act: (request) => this.#refresh(request),
      },
    });
  }

  #create(request: HttpRequest): HttpAnswer {
    this.#admit(request, 'write');
    queryOf(request, []);
    const fields = fieldsOf(request, CREATE) as {
      role_id: string;
      description: string;
      expiry: 'never' | number;
      exclude_refresh_token?: boolean;
    };
    const { role_id: role, description, expiry, exclude_refresh_token: excluded = false } = fields;
    const { descriptionLength = Infinity, lifetimeSeconds = Infinity } = this.limits;
    if (description.length > descriptionLength) throw badRequest('description is too long');
    const left = (expiry === 'never' ? Infinity : expiry) - this.now() / 1000;
    if (left <= 0) throw badRequest('expiry is in the past');
    if (left > lifetimeSeconds) throw badRequest('expiry is too far away');
    if (!this.account.roles.has(role)) throw notFound('No such role');
    this.#checkKeyLimit();
    const expiresAt = expiry === 'never' ? undefined : expiry;
    const terms = { role, description, expiresAt, withRefreshToken: !excluded };
    const key = this.account.issue(terms, 'call', this.#lag());
    return { answer: answerOf(key), corrupted: { key_info: {} } };
  }

  #list(request: HttpRequest): HttpAnswer {
    this.#admit(request, 'list');
    const { limit = '100', next_token: token } = queryOf(request, ['limit', 'next_token']);
    if (!/^\d+$/.test(limit) || Number(limit) < 1 || Number(limit) > 100) {
      throw badRequest('limit must be an integer from 1 to 100');
    }
    // A page starts after the last key of the previous page, even if keys were issued or revoked since.
    const after = token === undefined ? -1 : this.#pages.get(token);
    if (after === undefined) throw badRequest('next_token is invalid');
    const following = this.account.keys().filter((key) => key.number > after && this.#exists(key));
    const page = following.slice(0, Number(limit));
    const last = page.at(-1);
    const answer = { key_info: page.map(({ info }) => info) };
    if (last === undefined || page.length === following.length) {
      return { answer, corrupted: { key_info: [{}] } };
    }
    const next = randomBytes(12).toString('base64url');
    this.#pages.set(next, last.number);
    return { answer: { ...answer, next_token: next }, corrupted: { key_info: [{}] } };
  }

  #revoke(request: HttpRequest): HttpAnswer {
    this.#admit(request, 'write');
    queryOf(request, []);
    const key = this.account.keys().find(({ info }) => info.key_id === request.parts.id);
    if (key === undefined || !this.#exists(key)) throw notFound('No such key');
    this.account.revoke(key.info.key_id, 'call');
    return { answer: {}, corrupted: { code: 'corrupted' } };
  }

  #refresh(request: HttpRequest): HttpAnswer {
    const token = authorizationOf(request);
    const refreshable = this.account.refreshable(token);
    if (refreshable === undefined) throw unauthenticated();
    this.#meter();
    if (refreshable === 'used') {
      throw refusal(403, 'PermissionDenied', 'The refresh token was already used');
    }
    queryOf(request, []);
    const hasBody = request.body !== undefined;
    const fields: { expiration_epoch_seconds?: number } = hasBody ? fieldsOf(request, REFRESH) : {};
    const { key, latestExpiry } = refreshable;
    const { expiration_epoch_seconds: expiresAt = latestExpiry } = fields;
    if (expiresAt <= this.now() / 1000) {
      throw badRequest('expiration_epoch_seconds is in the past');
    }
    if (expiresAt > latestExpiry) {
      throw badRequest("expiration_epoch_seconds exceeds the key's lifetime");
    }
    // A refresh that exceeds the limit doesn't use the token.
    this.#checkKeyLimit();
    const fresh = this.account.refresh(token, expiresAt, this.#lag());
    return {
      answer: { ...answerOf(fresh), previous_key_id: key.info.key_id },
      corrupted: { key_info: {}, previous_key_id: key.info.key_id },
    };
  }

  #admit(request: HttpRequest, permission: 'list' | 'write'): void {
    const admitted = this.account.admit(authorizationOf(request));
    if (admitted === undefined) throw unauthenticated();
    this.#meter();
    if (!admitted.role.keys.includes(permission)) {
      throw refusal(403, 'PermissionDenied', 'The API key does not grant auth-management access');
    }
  }

  #meter(): void {
    const now = this.now();
    this.#callTimes = this.#callTimes.filter((time) => time > now - 1000 && time <= now);
    if (this.#callTimes.length >= (this.callsPerSecond ?? Infinity)) {
      throw refusal(429, 'ResourceExhausted', 'Too many requests', { 'retry-after': '1' });
    }
    this.#callTimes.push(now);
  }

  #checkKeyLimit(): void {
    const live = this.account.keys().filter((key) => this.account.isLive(key));
    if (live.length >= (this.maxKeys ?? Infinity)) {
      throw refusal(429, 'ResourceExhausted', 'The account has reached its limit of API keys');
    }
  }

  #exists(key: Key): boolean {
    return (
      key.revoked === undefined && (this.expiredKeys === 'listed' || !this.account.isExpired(key))
    );
  }

  #lag(): Lag {
    return { ms: this.newKeyLagMs, rejections: this.newKeyRejections };
  }
}

/** The key or refresh token in the only Authorization header, which has no scheme. */
function authorizationOf({ headers }: HttpRequest): string {
  const [sent, ...more] = headers.authorization ?? [];
  if (sent === undefined || more.length > 0) throw unauthenticated();
  return sent;
}

function queryOf({ query }: HttpRequest, known: readonly string[]): Record<string, string> {
  const names = [...query.keys()];
  const unknown = names.find((name) => !known.includes(name));
  if (unknown !== undefined) throw badRequest(`unknown query parameter ${unknown}`);
  if (new Set(names).size < names.length) throw badRequest('a query parameter is repeated');
  return Object.fromEntries(query);
}

function fieldsOf({ headers, body }: HttpRequest, { required, optional }: Fields): object {
  const type = headers['content-type']?.join();
  if (type === undefined || !/^application\/json(; ?charset=utf-8)?$/i.test(type)) {
    throw badRequest('Content-Type must be application/json');
  }
  if (typeof body !== 'object' || body === null || Array.isArray(body)) {
    throw badRequest('the body must be a JSON object');
  }
  const checks = { ...required, ...optional };
  const missing = Object.keys(required).find((name) => !(name in body));
  if (missing !== undefined) throw badRequest(`missing field ${missing}`);
  for (const [name, value] of Object.entries(body)) {
    const check = Object.hasOwn(checks, name) ? checks[name] : undefined;
    if (check === undefined) throw badRequest(`unknown field ${name}`);
    if (!check(value)) throw badRequest(`invalid value for ${name}`);
  }
  return body;
}

function refusal(
  status: number,
  code: string,
  message: string,
  headers?: Readonly<Record<string, string>>,
): HttpRefusal {
  return new HttpRefusal(status, { code, message }, headers);
}

function badRequest(message: string): HttpRefusal {
  return refusal(400, 'Bad Request', message);
}

function notFound(message: string): HttpRefusal {
  return refusal(404, 'NotFound', message);
}

function unauthenticated(): HttpRefusal {
  return refusal(401, 'Unauthenticated', 'Invalid or expired API key');
}
