/** The management key, which lists, mints and revokes keys. No other object contains it. */
import { isoTime } from '../duration';
import type { CallLimits, ManagementKeySecret, StoredPayload } from '../rotation/ports';
import { Credential } from './credential';
import { managementKeyInvalid, ManagementKeyRefused } from './errors';
import type { KeyApi, KeyList, MintRequest } from './key-api';
import { InvalidPayload, type Fields } from './payload';

/** A version of the management key's secret. */
interface StoredKey {
  readonly number: number;
  readonly apiKey: string;
  readonly keyId: string;
  readonly fingerprint: string;
}

/**
 * If Momento rejects the newest management key, the newest key that Momento accepts is used. Two processes can respond to a
 * compromised management key at the same time. Then one process can revoke the key that the other is about to add.
 */
export class ManagementKey {
  readonly #secret: ManagementKeySecret;
  readonly #api: KeyApi;
  readonly #now: () => number;
  readonly #rejected: number[] = [];
  readonly #fingerprints = new Set<string>();
  #key: StoredKey;
  #isForgotten = false;
  #replacement: Promise<boolean> | undefined;
  #list: Promise<KeyList> | undefined;
  #count: Promise<number | undefined> | undefined;

  private constructor(secret: ManagementKeySecret, key: StoredKey, api: KeyApi, now: () => number) {
    this.#secret = secret;
    this.#api = api;
    this.#now = now;
    this.#key = key;
    this.#fingerprints.add(key.fingerprint);
  }

  /** @throws RotationError MANAGEMENT_KEY_INVALID */
  static async read(
    secret: ManagementKeySecret,
    api: KeyApi,
    now: () => number,
  ): Promise<ManagementKey> {
    const stored = await secret.read([]);
    if (stored === undefined) {
      throw managementKeyInvalid(secret.name, 'the secret has no enabled version');
    }
    return new ManagementKey(secret, parseManagementKey(secret.name, stored, now()), api, now);
  }

  /** The id of the key in use. */
  get keyId(): string {
    return this.#key.keyId;
  }

  /** A sentence, if Momento rejected a newer key. */
  get warnings(): readonly string[] {
    const { name } = this.#secret;
    const [first] = this.#rejected;
    if (first === undefined || first === this.#key.number) return [];
    return [
      `Momento rejected the management key in version ${first} of ${name}, so the key in version ${this.#key.number} was used`,
    ];
  }

  /** Whether this object has used the key. */
  includes({ fingerprint }: { readonly fingerprint: string }): boolean {
    return this.#fingerprints.has(fingerprint);
  }

  /** The keys of the account. They are listed once, and again only after a failure. */
  list(limits: CallLimits): Promise<KeyList> {
    this.#list ??= this.#call((apiKey) => this.#api.list(apiKey, limits)).catch(
      (error: unknown) => {
        this.#list = undefined;
        throw error;
      },
    );
    return this.#list;
  }

  /** The number of the account's keys, for an error message. Undefined if they can't be listed. */
  count(limits: CallLimits): Promise<number | undefined> {
    this.#count ??= this.list(limits).then(
      ({ keys, skipped }) => keys.size + skipped,
      () => undefined,
    );
    return this.#count;
  }

  mint(request: MintRequest, limits: CallLimits): Promise<Fields> {
    return this.#call((apiKey) => this.#api.mint(apiKey, request, limits));
  }

  /** Never falls back to another management key, because that key could be the one to revoke. */
  revoke(keyId: string, limits: CallLimits): Promise<void> {
    return this.#api.revoke(this.#key.apiKey, keyId, limits);
  }

  forget(): void {
    this.#isForgotten = true;
    this.#key = { ...this.#key, apiKey: '' };
  }

  async #call<T>(call: (apiKey: string) => Promise<T>): Promise<T> {
    for (;;) {
      const used = this.#key;
      try {
        return await call(used.apiKey);
      } catch (thrown) {
        const isRejected = thrown instanceof ManagementKeyRefused && thrown.httpStatus === 401;
        if (!isRejected || this.#isForgotten) throw thrown;
        if (used === this.#key && !(await this.#replace())) throw thrown;
      }
    }
  }

  /** Calls that fail at the same time share one replacement. Returns whether there is another key. */
  #replace(): Promise<boolean> {
    this.#replacement ??= this.#readAnother().finally(() => (this.#replacement = undefined));
    return this.#replacement;
  }

  async #readAnother(): Promise<boolean> {
    const { name, read } = this.#secret;
    if (!this.#rejected.includes(this.#key.number)) this.#rejected.push(this.#key.number);
    for (;;) {
      const stored = await read(this.#rejected).catch(() => undefined);
      if (stored === undefined) return false;
      try {
        this.#key = parseManagementKey(name, stored, this.#now());
        this.#fingerprints.add(this.#key.fingerprint);
        return true;
      } catch {
        this.#rejected.push(stored.number);
      }
    }
  }
}

/** @throws RotationError MANAGEMENT_KEY_INVALID */
function parseManagementKey(
  name: string,
  { number, payload }: StoredPayload,
  now: number,
): StoredKey {
  const { kind, apiKey, keyId, fingerprint, expiresAt } = parsePayload(name, payload);
  if (kind !== 'v2') {
    throw managementKeyInvalid(name, "it isn't a v2 key, and only v2 keys can manage keys");
  }
  // The rotator recognizes the management key by its id, so that it never revokes the key.
  if (keyId === undefined) throw managementKeyInvalid(name, 'it has no id');
  if (expiresAt <= now) throw managementKeyInvalid(name, `it expired at ${isoTime(expiresAt)}`);
  return { number, apiKey, keyId, fingerprint };
}

function parsePayload(name: string, payload: Uint8Array): Credential {
  try {
    return Credential.parse(payload);
  } catch (thrown) {
    throw thrown instanceof InvalidPayload ? managementKeyInvalid(name, thrown.reason) : thrown;
  }
}
