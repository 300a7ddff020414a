import { randomBytes } from 'node:crypto';
import { Ledger } from './emulator';

// `.invalid` never resolves, so a client that doesn't call an emulator reaches no service.
export const ENDPOINT = 'cell-1.momento.invalid';

/** The permissions of a key for caches: all, or only to read and write items. */
export type Permissions = 'all' | 'data-only';

export interface Role {
  /** The permissions for the account's v2 keys: Momento's `auth_management`. */
  readonly keys: readonly ('list' | 'write')[];
  readonly caches: Permissions;
}

/** The cause of an issue or a revocation: an operator in Momento's console, or a call of the key API. */
export type Initiator = 'operator' | 'call';

/** Momento's description of a v2 key, in its own format. */
export interface KeyInfo {
  readonly key_id: string;
  readonly account_id: string;
  readonly description: string;
  readonly role_id: string;
  readonly issued_at_epoch_seconds: number;
  /** Left out for a key that never expires. */
  readonly expires_at_epoch_seconds?: number;
}

/** A v2 key. It might be expired or revoked. */
export interface Key {
  /** How many keys the account had issued before this key. */
  readonly number: number;
  readonly info: KeyInfo;
  readonly apiKey: string;
  readonly refreshToken: string | undefined;
  /** Epoch milliseconds. */
  readonly issuedAt: number;
  readonly issuedBy: Initiator;
  readonly revoked: { readonly at: number; readonly by: Initiator } | undefined;
}

/** A v2 key in the formats of the key API and of Momento's console. */
export interface IssuedV2Key {
  readonly apiKey: string;
  readonly refreshToken: string | undefined;
  readonly keyInfo: KeyInfo;
  /** The JSON that the key API and Momento's CLI print. */
  readonly apiJson: string;
  /** The JSON that the console downloads for v1 keys. Momento doesn't document this format for v2 keys. */
  readonly consoleJson: string;
}

export interface Terms {
  readonly role: string;
  readonly description: string;
  /** Epoch seconds; undefined for a key that never expires. */
  readonly expiresAt: number | undefined;
  readonly withRefreshToken: boolean;
}

/** For how long, and for how many calls, Momento rejects a new key. */
export interface Lag {
  readonly ms: number;
  readonly rejections: number;
}

interface AccountKey extends Key {
  /** The longest lifetime that a refresh of this key can request. */
  readonly lifetimeSeconds: number | undefined;
  /** Momento accepts the key from this time on, in epoch milliseconds. */
  readonly knownFrom: number;
  rejectionsLeft: number;
  refreshTokenUsed: boolean;
  revoked: Key['revoked'];
}

const KNOWN_AT_ONCE: Lag = { ms: -Infinity, rejections: 0 };

/** The account that the emulators of Momento and of its key API share: a clock, roles, and v2 keys. */
export class Account extends Ledger {
  /** Roles by their ids. Tests can add their own. */
  readonly roles = new Map<string, Role>([
    ['r-owner', { keys: ['list', 'write'], caches: 'all' }],
    ['r-operator', { keys: ['list', 'write'], caches: 'all' }],
    ['r-viewer', { keys: [], caches: 'all' }],
  ]);

  /** Whether a v2 refresh token can be used again. Momento's tokens work once. */
  refreshTokens: 'single-use' | 'reusable' = 'single-use';

  readonly #id = `a-${randomBytes(4).toString('hex')}`;
  readonly #keys = new Map<string, AccountKey>();
  readonly #byApiKey = new Map<string, AccountKey>();
  readonly #byRefreshToken = new Map<string, AccountKey>();

  /** Issues a v2 key as the console and Momento's CLI do. Momento accepts it at once. */
  issueV2Key(
    options: {
      role?: string;
      description?: string;
      lifetimeSeconds?: number | 'never';
      withRefreshToken?: boolean;
    } = {},
  ): IssuedV2Key {
    const { role = 'r-viewer', description = 'of an operator', withRefreshToken = true } = options;
    const { lifetimeSeconds = 30 * 24 * 3600 } = options;
    if (!this.roles.has(role)) throw new Error('there is no such role');
    const expiresAt = lifetimeSeconds === 'never' ? undefined : this.#seconds() + lifetimeSeconds;
    const key = this.issue({ role, description, expiresAt, withRefreshToken }, 'operator');
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

  issue(terms: Terms, by: Initiator, lag = KNOWN_AT_ONCE): Key {
    const { expiresAt } = terms;
    const lifetimeSeconds = expiresAt === undefined ? undefined : expiresAt - this.#seconds();
    return this.#keep(terms, by, lag, lifetimeSeconds);
  }

  /** The key to which a refresh token belongs; `used` if the token was used, undefined if its key isn't live. */
  refreshable(refreshToken: string): { key: Key; latestExpiry: number } | 'used' | undefined {
    const key = this.#byRefreshToken.get(refreshToken);
    if (key?.lifetimeSeconds === undefined || !this.isLive(key)) return undefined;
    if (key.refreshTokenUsed) return 'used';
    return { key, latestExpiry: this.#seconds() + key.lifetimeSeconds };
  }

  /** Uses a refresh token. The old key stays valid. A shorter lifetime limits every later refresh. */
  refresh(refreshToken: string, expiresAt: number, lag: Lag): Key {
    const key = this.#byRefreshToken.get(refreshToken);
    if (key === undefined || typeof this.refreshable(refreshToken) !== 'object') {
      throw new Error('the refresh token is unknown, used or expired');
    }
    key.refreshTokenUsed = this.refreshTokens === 'single-use';
    const { role_id: role, description } = key.info;
    const terms = { role, description, expiresAt, withRefreshToken: true };
    return this.#keep(terms, 'call', lag, expiresAt - this.#seconds());
  }

  revoke(keyId: string, by: Initiator): void {
    const key = this.#keys.get(keyId);
    if (key === undefined) throw new Error('no such key was issued');
    key.revoked ??= { at: this.now(), by };
    this.changed();
  }

  /** Returns the key of a call and its role; undefined if Momento rejects the key. Counts the rejection. */
  admit(apiKey: string): { key: Key; role: Role } | undefined {
    const key = this.#byApiKey.get(apiKey);
    const role = this.roles.get(key?.info.role_id ?? '');
    if (key && role && this.#isKnown(key)) return { key, role };
    if (key && key.rejectionsLeft > 0) key.rejectionsLeft -= 1;
    return undefined;
  }

  /** Whether Momento accepts a call with this key now. */
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

  /** Whether a key is neither expired nor revoked. Momento might not accept it yet. */
  isLive(key: Key): boolean {
    return key.revoked === undefined && !this.isExpired(key);
  }

  /** All v2 keys that were issued, or only the keys with this description, oldest first. */
  keys(description?: string): Key[] {
    const keys = [...this.#keys.values()];
    return description === undefined
      ? keys
      : keys.filter(({ info }) => info.description === description);
  }

  /** The live keys with this description that aren't referenced. */
  orphans(description: string, referencedKeys: Iterable<string>): Key[] {
    const referenced = new Set(referencedKeys);
    return this.keys(description).filter((key) => this.isLive(key) && !referenced.has(key.apiKey));
  }

  /** All v2 keys and refresh tokens that were issued. */
  secrets(): string[] {
    return [...this.#byApiKey.keys(), ...this.#byRefreshToken.keys()];
  }

  #keep(terms: Terms, by: Initiator, lag: Lag, lifetimeSeconds: number | undefined): Key {
    const { role, description, expiresAt, withRefreshToken } = terms;
    const id = randomBytes(8).toString('hex');
    const expiry = expiresAt === undefined ? {} : { exp: expiresAt };
    const key: AccountKey = {
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

  #isKnown(key: AccountKey): boolean {
    return this.isLive(key) && key.rejectionsLeft === 0 && this.now() >= key.knownFrom;
  }

  #seconds(): number {
    return Math.floor(this.now() / 1000);
  }
}

/** The key API's answer with a new key. No later answer contains the key itself. */
export function answerOf({ apiKey, refreshToken, info }: Key): object {
  return {
    api_key: apiKey,
    ...(refreshToken !== undefined && { refresh_token: refreshToken }),
    key_info: info,
  };
}

/** A JSON web token. The emulators don't check its signature. */
export function jwt(claims: object): string {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  return [part({ alg: 'HS256' }), part(claims), randomBytes(32).toString('base64url')].join('.');
}
