/** What the management key can do: list the account's keys, make and end some. It is held here and nowhere else. */
import { isoTime } from '../duration';
import type { KeyInfo, MintedKey } from './answers';
import { Credential } from './credential';
import type { KeyApi, MintRequest } from './key-api';
import { InvalidPayload } from './payload';
import { managementKeyInvalid } from './words';

type Api = Pick<KeyApi, 'list' | 'mint' | 'revoke'>;

export class ManagementKey {
  readonly keyId: string | undefined;
  readonly #api: Api;
  #apiKey: string;
  #list: Promise<KeyInfo[]> | undefined;

  /**
   * @param payload in any of the forms
   * @throws RotationError MANAGEMENT_KEY_INVALID
   */
  constructor(payload: Uint8Array, api: Api, now: number) {
    const credential = parse(payload);
    if (credential.kind !== 'v2') {
      throw managementKeyInvalid('it is no v2 key, and only v2 keys may manage keys');
    }
    if (credential.expiresAt <= now) {
      throw managementKeyInvalid(`it expired at ${isoTime(credential.expiresAt)}`);
    }
    this.keyId = credential.keyId;
    this.#apiKey = credential.apiKey;
    this.#api = api;
  }

  /** The keys of the account. Asked for once; after a failure the next who needs the list asks again. */
  list(): Promise<KeyInfo[]> {
    this.#list ??= this.#api.list(this.#apiKey).catch((error: unknown) => {
      this.#list = undefined;
      throw error;
    });
    return this.#list;
  }

  mint(request: MintRequest): Promise<MintedKey> {
    return this.#api.mint(this.#apiKey, request);
  }

  revoke(keyId: string, confirm?: () => Promise<boolean>): Promise<boolean> {
    return this.#api.revoke(this.#apiKey, keyId, confirm);
  }

  /** Forgets the key. */
  drop(): void {
    this.#apiKey = '';
  }
}

function parse(payload: Uint8Array): Credential {
  try {
    return Credential.parse(payload);
  } catch (thrown) {
    throw thrown instanceof InvalidPayload ? managementKeyInvalid(thrown.problem) : thrown;
  }
}
