import { randomBytes } from 'node:crypto';
import { Ledger } from './local-service';

// `.invalid` never resolves: a client that leaves the local endpoints cannot reach anybody.
export const ENDPOINT = 'cell-1.momento.invalid';

/** What a key can do with caches: everything, or only read and write items in them. */
export type Permissions = 'all' | 'data-only';

export interface Role {
  /** What it can do with the account's v2 keys: Momento's `auth_management`. */
  readonly keys: readonly ('list' | 'write')[];
  readonly caches: Permissions;
}

/** A person at the console, or a call of the key API. */
export type Actor = 'person' | 'call';

/** What Momento tells about a v2 key, as it tells it. */
export interface KeyInfo {
  readonly key_id: string;
  readonly account_id: string;
  readonly description: string;
  readonly role_id: string;
  readonly issued_at_epoch_seconds: number;
  /** Left out for a key that never expires. */
  readonly expires_at_epoch_seconds?: number;
}

/** A v2 key, also one that has ended. */
export interface Key {
  /** How many keys the account had before this one. */
  readonly number: number;
  readonly info: KeyInfo;
  readonly apiKey: string;
  readonly refreshToken: string | undefined;
  /** Epoch milliseconds. */
  readonly issuedAt: number;
  readonly issuedBy: Actor;
  readonly revoked: { readonly at: number; readonly by: Actor } | undefined;
}

/** A v2 key as its owner holds it. */
export interface IssuedV2Key {
  readonly apiKey: string;
  readonly refreshToken: string | undefined;
  readonly keyInfo: KeyInfo;
  /** The JSON that the key API and Momento's CLI print. */
  readonly apiJson: string;
  /** The same key in the form that the console gave v1 keys; what it gives for v2 keys is not documented. */
  readonly consoleJson: string;
}

export interface Terms {
  readonly role: string;
  readonly description: string;
  /** Epoch seconds; undefined for a key that never expires. */
  readonly expiresAt: number | undefined;
  readonly withRefreshToken: boolean;
}

/** How long, and for how many calls, a new key is still unknown. */
export interface Lag {
  readonly ms: number;
  readonly rejections: number;
}

interface KeptKey extends Key {
  /** A refresh counts it anew. */
  readonly lifetimeSeconds: number | undefined;
  /** Epoch milliseconds from which on the services know the key. */
  readonly knownFrom: number;
  rejectionsLeft: number;
  refreshTokenUsed: boolean;
  revoked: Key['revoked'];
}

const KNOWN_AT_ONCE: Lag = { ms: -Infinity, rejections: 0 };

/** What the local Momento and the local key API share: a clock, roles, and the v2 keys that both of them know. */
export class Account extends Ledger {
  /** Roles by their ids. Tests can add their own. */
  readonly roles = new Map<string, Role>([
    ['r-owner', { keys: ['list', 'write'], caches: 'all' }],
    ['r-operator', { keys: ['list', 'write'], caches: 'all' }],
    ['r-viewer', { keys: [], caches: 'all' }],
  ]);

  /** Whether a v2 refresh token can be used again; Momento's works once. */
  refreshTokens: 'single-use' | 'reusable' = 'single-use';

  readonly #id = `a-${randomBytes(4).toString('hex')}`;
  readonly #keys = new Map<string, KeptKey>();
  readonly #byApiKey = new Map<string, KeptKey>();
  readonly #byRefreshToken = new Map<string, KeptKey>();

  /** Issues a v2 key as the console and Momento's CLI do: known at once. */
  issueV2Key(
    options: {
      role?: string;
      description?: string;
      lifetimeSeconds?: number | 'never';
      withRefreshToken?: boolean;
    } = {},
  ): IssuedV2Key {
    const { role = 'r-viewer', description = 'of a person', withRefreshToken = true } = options;
    const { lifetimeSeconds = 30 * 24 * 3600 } = options;
    if (!this.roles.has(role)) throw new Error('there is no such role');
    const expiresAt = lifetimeSeconds === 'never' ? undefined : this.#seconds() + lifetimeSeconds;
    const key = this.issue({ role, description, expiresAt, withRefreshToken }, 'person');
    const { apiKey, refreshToken, info } = key;
    return {
      apiKey,
      refreshToken,
      keyInfo: info,
      apiJson: JSON.stringify(answerOf(key)),
      consoleJson: JSON.stringify({
        apiKey,
        refreshToken,
        validUntil: expiresAt,
        restEndpoint: `https://api.cache.${ENDPOINT}`,
      }),
    };
  }

  issue(terms: Terms, by: Actor, lag = KNOWN_AT_ONCE): Key {
    const { expiresAt } = terms;
    const lifetimeSeconds = expiresAt === undefined ? undefined : expiresAt - this.#seconds();
    return this.#keep(terms, by, lag, lifetimeSeconds);
  }

  /** The key whose refresh token this is; `used` for a token that was used, undefined for one of no live key. */
  refreshable(refreshToken: string): { key: Key; longestUntil: number } | 'used' | undefined {
    const key = this.#byRefreshToken.get(refreshToken);
    if (key?.lifetimeSeconds === undefined || !this.isLive(key)) return undefined;
    if (key.refreshTokenUsed) return 'used';
    return { key, longestUntil: this.#seconds() + key.lifetimeSeconds };
  }

  /** Uses a refresh token. The key that it came with stays. A shorter lifetime limits every later refresh. */
  refresh(refreshToken: string, expiresAt: number, lag: Lag): Key {
    const key = this.#byRefreshToken.get(refreshToken);
    if (key === undefined || typeof this.refreshable(refreshToken) !== 'object') {
      throw new Error('cannot be refreshed');
    }
    key.refreshTokenUsed = this.refreshTokens === 'single-use';
    const { role_id: role, description } = key.info;
    const terms = { role, description, expiresAt, withRefreshToken: true };
    return this.#keep(terms, 'call', lag, expiresAt - this.#seconds());
  }

  revoke(keyId: string, by: Actor): void {
    const key = this.#keys.get(keyId);
    if (key === undefined) throw new Error('no such key was issued');
    key.revoked ??= { at: this.now(), by };
    this.changed();
  }

  /** Lets a call with this key in, or does not. */
  admit(apiKey: string): { key: Key; role: Role } | undefined {
    const key = this.#byApiKey.get(apiKey);
    const role = this.roles.get(key?.info.role_id ?? '');
    if (key && role && this.#isKnown(key)) return { key, role };
    if (key && key.rejectionsLeft > 0) key.rejectionsLeft -= 1;
    return undefined;
  }

  /** Whether a call with this key would be let in now. */
  accepts(apiKey: string): boolean {
    const key = this.#byApiKey.get(apiKey);
    return key !== undefined && this.#isKnown(key);
  }

  find(apiKey: string): Key | undefined {
    return this.#byApiKey.get(apiKey);
  }

  isExpired({ info }: Key): boolean {
    return this.now() >= (info.expires_at_epoch_seconds ?? Infinity) * 1000;
  }

  /** Neither expired nor revoked, also where it is not known yet. */
  isLive(key: Key): boolean {
    return key.revoked === undefined && !this.isExpired(key);
  }

  /** Every v2 key that was ever issued, or those with this description, oldest first. */
  keys(description?: string): Key[] {
    const keys = [...this.#keys.values()];
    return description === undefined
      ? keys
      : keys.filter(({ info }) => info.description === description);
  }

  /** The live keys with this description that are not among those that somebody holds. */
  orphans(description: string, held: Iterable<string>): Key[] {
    const holding = new Set(held);
    return this.keys(description).filter((key) => this.isLive(key) && !holding.has(key.apiKey));
  }

  /** Every v2 key and its refresh token that was ever issued. */
  secrets(): string[] {
    return [...this.#byApiKey.keys(), ...this.#byRefreshToken.keys()];
  }

  #keep(terms: Terms, by: Actor, lag: Lag, lifetimeSeconds: number | undefined): Key {
    const { role, description, expiresAt, withRefreshToken } = terms;
    const id = randomBytes(8).toString('hex');
    const expiry = expiresAt === undefined ? {} : { exp: expiresAt };
    const key: KeptKey = {
      number: this.#keys.size,
      info: {
        key_id: id,
        account_id: this.#id,
        description,
        role_id: role,
        issued_at_epoch_seconds: this.#seconds(),
        ...(expiresAt !== undefined && { expires_at_epoch_seconds: expiresAt }),
      },
      apiKey: jwt({ t: 'g', jti: id, ...expiry }),
      refreshToken:
        withRefreshToken && expiresAt !== undefined
          ? jwt({ t: 'gr', akid: id, ...expiry })
          : undefined,
      issuedAt: this.now(),
      issuedBy: by,
      lifetimeSeconds,
      knownFrom: this.now() + lag.ms,
      rejectionsLeft: lag.rejections,
      refreshTokenUsed: false,
      revoked: undefined,
    };
    this.#keys.set(id, key);
    this.#byApiKey.set(key.apiKey, key);
    if (key.refreshToken !== undefined) this.#byRefreshToken.set(key.refreshToken, key);
    this.changed();
    return key;
  }

  #isKnown(key: KeptKey): boolean {
    return this.isLive(key) && key.rejectionsLeft === 0 && this.now() >= key.knownFrom;
  }

  #seconds(): number {
    return Math.floor(this.now() / 1000);
  }
}

/** What the key API answers when it has made a key: the only time that it tells the key. */
export function answerOf({ apiKey, refreshToken, info }: Key): object {
  return {
    api_key: apiKey,
    ...(refreshToken !== undefined && { refresh_token: refreshToken }),
    key_info: info,
  };
}

/** Has the form of a JSON web token; nobody checks the signature. */
export function jwt(claims: object): string {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  return [part({ alg: 'HS256' }), part(claims), randomBytes(32).toString('base64url')].join('.');
}
