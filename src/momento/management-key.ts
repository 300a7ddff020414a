/** The management key, which lists, mints and revokes keys. No other object contains it. */
import { isoTime } from '../duration';
import type { CallLimits, ManagementKeySecret } from '../rotation/ports';
import { Credential } from './credential';
import { managementKeyInvalid } from './errors';
import type { KeyApi, KeyList, MintRequest } from './key-api';
import { InvalidPayload, type Fields } from './payload';

export class ManagementKey {
  readonly keyId: string;
  readonly fingerprint: string;
  readonly #api: KeyApi;
  #apiKey: string;
  #list: Promise<KeyList> | undefined;
  #count: Promise<number | undefined> | undefined;

  private constructor({ apiKey, fingerprint }: Credential, keyId: string, api: KeyApi) {
    this.keyId = keyId;
    this.fingerprint = fingerprint;
    this.#apiKey = apiKey;
    this.#api = api;
  }

  /** @throws RotationError MANAGEMENT_KEY_INVALID */
  static async read(
    { name, read }: ManagementKeySecret,
    api: KeyApi,
    now: () => number,
  ): Promise<ManagementKey> {
    const credential = parseManagementKey(name, await read());
    if (credential.kind !== 'v2') {
      throw managementKeyInvalid(name, "it isn't a v2 key, and only v2 keys can manage keys");
    }
    // The rotator excludes it from its own keys by id, so that it never revokes it.
    if (credential.keyId === undefined) throw managementKeyInvalid(name, 'it has no id');
    if (credential.expiresAt <= now()) {
      throw managementKeyInvalid(name, `it expired at ${isoTime(credential.expiresAt)}`);
    }
    return new ManagementKey(credential, credential.keyId, api);
  }

  /** The keys of the account. They are listed once, and again only after a failure. */
  list(limits: CallLimits): Promise<KeyList> {
    this.#list ??= this.#api.list(this.#apiKey, limits).catch((error: unknown) => {
      this.#list = undefined;
      throw error;
    });
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
    return this.#api.mint(this.#apiKey, request, limits);
  }

  revoke(keyId: string, limits: CallLimits): Promise<void> {
    return this.#api.revoke(this.#apiKey, keyId, limits);
  }

  /** Forgets the key. */
  forget(): void {
    this.#apiKey = '';
  }
}

function parseManagementKey(name: string, payload: Uint8Array): Credential {
  try {
    return Credential.parse(payload);
  } catch (thrown) {
    throw thrown instanceof InvalidPayload ? managementKeyInvalid(name, thrown.reason) : thrown;
  }
}
