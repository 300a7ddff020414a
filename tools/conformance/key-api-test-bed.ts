/** Calls Momento's key API with keys that the test bed mints, and revokes them at the end. */
import { randomBytes } from 'node:crypto';
import { ListCaches } from '@gomomento/sdk';
import * as v from 'valibot';
import { HOUR, MINUTE, SECOND } from '../../src/duration';
import { Credential } from '../../src/momento/credential';
import { HttpClient, type HttpAnswer, type Exchange } from '../../src/momento/http-client';
import {
  ADDRESS,
  KeyApi,
  PRIORITY,
  RATE,
  REFRESH_PATH,
  type ListedKey,
} from '../../src/momento/key-api';
import { closeCacheClient, Sdk } from '../../src/momento/sdk';
import { RateLimiter } from '../../src/rate-limiter';
import type { CallLimits } from '../../src/rotation/ports';
import { failed, NotChecked, once, reasonOf } from './assumption';
import type { TestBed } from './group';
import { listCachesOnOneConnection } from './one-connection';
import type { Target } from './target';

const LIFETIME = HOUR;
/** The lifetime of a key that expires during the checks. */
const SHORT_LIFETIME = MINUTE;
const CALL_TIMEOUT = MINUTE;
/** The length of the description for a secret with the longest possible name. */
const LONG_DESCRIPTION = 360;

/** The id of a role that no account has. */
export const NO_ROLE = 'r-conformance';

const KeyInfo = v.looseObject({
  key_id: v.string(),
  role_id: v.string(),
  description: v.nullish(v.string()),
  issued_at_epoch_seconds: v.number(),
  expires_at_epoch_seconds: v.nullish(v.number()),
});
export type KeyInfo = v.InferOutput<typeof KeyInfo>;

const WithToken = v.object({
  api_key: v.string(),
  key_info: KeyInfo,
  refresh_token: v.optional(v.string()),
  previous_key_id: v.optional(v.string()),
});
type WithToken = v.InferOutput<typeof WithToken>;

const Page = v.object({
  key_info: v.nullable(v.array(KeyInfo)),
  next_token: v.nullish(v.string()),
});

interface Minted {
  readonly status: string;
  /** @throws Unanswered if no key was minted */
  readonly key: () => WithToken;
}

interface Refreshed {
  readonly status: string;
  readonly old: WithToken;
  readonly key: WithToken | undefined;
}

export class KeyApiTestBed implements TestBed {
  readonly target: Target;
  readonly managementKey: Credential;
  /** The function's own client. */
  readonly api: KeyApi;
  readonly description = `momento-key-rotator conformance ${randomBytes(6).toString('hex')}`;
  readonly longDescription = this.description.padEnd(LONG_DESCRIPTION, '.');

  readonly #http: HttpClient;
  readonly #limiter: RateLimiter;
  readonly #sdk: Sdk;
  readonly #refreshPath: string;
  #hasMinted = false;
  firstAskedAt = 0;

  /** @throws NotChecked without a management key */
  constructor(target: Target) {
    const { clock, momento, managementKey } = target;
    if (managementKey === undefined) throw new NotChecked('CONFORMANCE_MANAGEMENT_KEY is not set');
    this.target = target;
    this.managementKey = managementKey;
    this.#limiter = new RateLimiter(clock, target.rate ?? RATE);
    this.#sdk = new Sdk(clock, momento.emulator);
    const emulator = momento.keyApiEmulator;
    const address = emulator === undefined ? ADDRESS : `http://${emulator}`;
    this.#http = new HttpClient(new URL(address), { clock });
    const { refreshPath = REFRESH_PATH } = momento;
    this.#refreshPath = refreshPath;
    this.api = new KeyApi({ emulator, refreshPath, limiter: this.#limiter, clock });
  }

  /** A key that the function's own call minted. */
  readonly first = once(async () => {
    await this.#agreeToMint();
    this.firstAskedAt = this.target.clock.now();
    const expiresAt = this.firstAskedAt + LIFETIME;
    const { description } = this;
    const { role } = this.target;
    const request = { secret: 'the conformance suite', role, description, expiresAt };
    const answer = await this.api.mint(this.managementKey.apiKey, request, this.#limits());
    const key = parse(WithToken, answer) ?? failed('the answer contains no key');
    return { key, expiresAt: Math.floor(expiresAt / SECOND) * SECOND };
  });

  /** A second key with the description of `first`. */
  readonly twin = once(async () => {
    await this.first();
    return this.#minted({ exclude_refresh_token: true });
  });
  readonly longDescribed = once(() =>
    this.#minted({ description: this.longDescription, exclude_refresh_token: true }),
  );
  readonly ofOwnRole = once(async () =>
    this.#minted({ role_id: await this.ownRole(), exclude_refresh_token: true }),
  );
  readonly refreshable = once(() => this.#minted({}));
  readonly expired = once(async () => {
    const { clock } = this.target;
    const expiresAt = Math.floor((clock.now() + SHORT_LIFETIME) / SECOND);
    const key = (await this.#minted({ expiry: expiresAt })).key();
    await clock.sleep((expiresAt + 5) * SECOND - clock.now());
    return key;
  });

  readonly revoked = once(async () => {
    const key = (await this.twin()).key();
    return { key, status: await this.delete(key.key_info.key_id) };
  });

  /** A revoked key with a refresh token. */
  readonly revokedRefreshable = once(async () => {
    const key = (await this.#minted({})).key();
    return { key, status: await this.delete(key.key_info.key_id) };
  });

  readonly wrongPath = once(async () => {
    const key = (await this.refreshable()).key();
    const { status } = await this.#use(`${this.#refreshPath}-conformance`, key.refresh_token);
    return { status: String(status) };
  });
  readonly refreshed = once(async (): Promise<Refreshed> => {
    const old = (await this.refreshable()).key();
    // A request at a wrong path must not use the token, so the token must work afterwards.
    await this.wrongPath();
    await this.#agreeTo('Use the refresh token of one of the keys that were minted?');
    const answer = await this.#use(this.#refreshPath, old.refresh_token);
    return { status: String(answer.status), old, key: readAnswer(WithToken, answer.text) };
  });
  readonly usedAgain = once(async () => {
    const { old } = await this.refreshed();
    return this.use(old);
  });

  /** Lists the keys with the function's own call. */
  async list(): Promise<ListedKey[]> {
    const { keys } = await this.api.list(this.managementKey.apiKey, this.#limits());
    return [...keys.values()];
  }

  readonly ownRole = once(async () => {
    const { role, keyId } = this.managementKey;
    const listed = role ?? (await this.list()).find((key) => key.keyId === keyId)?.role;
    return listed ?? failed("the role of the management key isn't known");
  });

  async refreshedKey(): Promise<{ old: WithToken; key: WithToken }> {
    const { old, key, status } = await this.refreshed();
    return { old, key: key ?? failed(`no key was refreshed (HTTP ${status})`) };
  }

  async status(apiKey: string, exchange: Partial<Exchange> = {}): Promise<string> {
    return String((await this.call(apiKey, exchange)).status);
  }

  delete(keyId: string, apiKey = this.managementKey.apiKey): Promise<string> {
    return this.status(apiKey, { method: 'DELETE', path: `/api-keys/${keyId}` });
  }

  async call(apiKey: string, exchange: Partial<Exchange> = {}): Promise<HttpAnswer> {
    const answer = await this.send(apiKey, exchange);
    const { status } = answer;
    return status === 429 || status >= 500 ? failed(`HTTP ${status}`) : answer;
  }

  /** Sends a request, by default for a list of one key. */
  async send(authorization: string, exchange: Partial<Exchange> = {}): Promise<HttpAnswer> {
    const limits = this.#limits();
    await this.#limiter.acquire({ priority: PRIORITY.issue, ...limits });
    const request = { method: 'GET', path: '/api-keys?limit=1', authorization } as const;
    return this.#http.send({ ...request, ...exchange }, limits);
  }

  /** Verifies a key with the function's own call. */
  async verify(apiKey: string): Promise<string> {
    const check = { priority: PRIORITY.verifyNew, mustList: false };
    return (await this.api.check(apiKey, check, this.#limits())).verdict;
  }

  /** A page of the list. */
  async page(limit: number, next: string | undefined): Promise<v.InferOutput<typeof Page>> {
    const query = new URLSearchParams({
      limit: String(limit),
      ...(next !== undefined && { next_token: next }),
    });
    const path = `/api-keys?${query.toString()}`;
    const { status, text } = await this.call(this.managementKey.apiKey, { path });
    return readAnswer(Page, text) ?? failed(`a page of the list could not be read (${status})`);
  }

  /** Calls ListCaches with a v2 key. Returns `Success` or the SDK's error code. */
  async listCaches(apiKey: string): Promise<string> {
    const { endpoint = '', emulator } = this.target.momento;
    if (endpoint === '' && emulator === undefined)
      throw new NotChecked('MOMENTO_ENDPOINT is not set');
    const client = this.#sdk.cacheClient(Credential.parse(Buffer.from(apiKey)), endpoint);
    try {
      const answer = await client.listCaches();
      return answer instanceof ListCaches.Error ? answer.errorCode() : 'Success';
    } finally {
      closeCacheClient(client);
    }
  }

  /** Whether Momento accepts each key, when all calls use one connection. */
  async onOneConnection(apiKeys: readonly string[]): Promise<string[]> {
    const { endpoint = '', emulator } = this.target.momento;
    if (endpoint === '' && emulator === undefined)
      throw new NotChecked('MOMENTO_ENDPOINT is not set');
    const origin = emulator === undefined ? `https://control.${endpoint}` : `http://${emulator}`;
    const codes = await listCachesOnOneConnection(origin, apiKeys);
    return codes.map((code) => {
      if (code === 'OK' || code === 'PERMISSION_DENIED') return 'accepted';
      return code === 'UNAUTHENTICATED' ? 'rejected' : code;
    });
  }

  async remove(): Promise<string[]> {
    const mine = [this.description, this.longDescription];
    const left: string[] = [];
    try {
      // The list also contains keys whose answers were lost.
      const keys = this.#hasMinted ? await this.list() : [];
      for (const { description, keyId } of keys) {
        if (!mine.includes(description ?? '')) continue;
        await this.#revoke(keyId).catch((thrown: unknown) =>
          left.push(`the v2 key ${keyId} (${reasonOf(thrown)})`),
        );
      }
    } catch (thrown) {
      left.push(`the v2 keys described as "${this.description}" (${reasonOf(thrown)})`);
    }
    this.api.close();
    this.#http.close();
    return left;
  }

  async #revoke(keyId: string): Promise<void> {
    const limits = this.#limits();
    await this.api.waitToRevoke(1, limits);
    await this.api.revoke(this.managementKey.apiKey, keyId, limits);
  }

  #limits(): CallLimits {
    return { deadline: this.target.clock.monotonic() + CALL_TIMEOUT };
  }

  async #minted(fields: object): Promise<Minted> {
    const { status, text } = await this.mint(fields);
    const read = () => readAnswer(WithToken, text) ?? failed(`no key was minted (HTTP ${status})`);
    return { status: String(status), key: read };
  }

  async mint(fields: object): Promise<HttpAnswer> {
    await this.#agreeToMint();
    return this.call(this.managementKey.apiKey, {
      method: 'POST',
      path: '/api-keys',
      body: {
        role_id: this.target.role,
        description: this.description,
        expiry: Math.floor((this.target.clock.now() + LIFETIME) / SECOND),
        ...fields,
      },
    });
  }

  /** Uses a refresh token that should not work any more. */
  async use({ refresh_token }: WithToken): Promise<string> {
    return String((await this.#use(this.#refreshPath, refresh_token)).status);
  }

  #use(path: string, token: string | undefined): Promise<HttpAnswer> {
    return this.call(token ?? failed('a key came without a refresh token'), {
      method: 'POST',
      path,
      body: {},
    });
  }

  readonly #agreeToMint = once(async () => {
    const { role } = this.target;
    await this.#agreeTo(
      `Mint seven v2 keys, six of the role ${role} and one of the management key's own, for an hour at most, and revoke them ` +
        'at the end?',
    );
    this.#hasMinted = true;
  });

  async #agreeTo(question: string): Promise<void> {
    if (!(await this.target.agree(question))) throw new NotChecked('not agreed to');
  }
}

/** Parses an answer. Returns undefined if the answer doesn't match the schema. */
function readAnswer<T extends v.GenericSchema>(
  schema: T,
  text: string | undefined,
): v.InferOutput<T> | undefined {
  try {
    return parse(schema, JSON.parse(text ?? ''));
  } catch {
    return undefined;
  }
}

function parse<T extends v.GenericSchema>(schema: T, value: unknown): v.InferOutput<T> | undefined {
  const result = v.safeParse(schema, value, { abortEarly: true });
  return result.success ? result.output : undefined;
}
