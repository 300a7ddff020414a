/** What the runs of one request share: management key, list of keys, connections. */
import { SECOND } from '../duration';
import { RotationError, toRotationError } from '../errors';
import type {
  CurrentKey,
  KeySession,
  OwnKey,
  Renewal,
  Credential as RotatedCredential,
  Secret,
  Verdict,
} from '../rotation/ports';
import { Credential } from './credential';
import type { KeyApi } from './key-api';
import { ManagementKey } from './management-key';
import { description } from './mint';
import { renewal } from './renewal';
import type { Sdk } from './sdk';
import { verify } from './verify';
import { managementKeyMissing } from './words';

export interface SessionOptions {
  readonly sdk: Sdk;
  readonly api: Pick<KeyApi, keyof KeyApi>;
  readonly endpoint: string | undefined;
  readonly now: () => number;
  /** Reads the payload of the management key, where one is configured. */
  readonly managementKey: (() => Promise<Uint8Array>) | undefined;
}

export class MomentoSession implements KeySession {
  readonly #options: SessionOptions;
  #ready: Promise<void> | undefined;
  #managementKey: ManagementKey | RotationError | undefined;

  constructor(options: SessionOptions) {
    this.#options = options;
  }

  ready(): Promise<void> {
    this.#ready ??= this.#readManagementKey();
    return this.#ready;
  }

  renewal(secret: Secret, current: CurrentKey | undefined): Renewal | RotationError {
    if (this.#options.managementKey !== undefined && this.#managementKey === undefined) {
      throw new Error('the management key has to be read first');
    }
    return renewal(secret, current && { ...current, credential: ours(current.credential) }, {
      ...this.#options,
      managementKey: this.#managementKey,
    });
  }

  async verify(credential: RotatedCredential): Promise<Verdict> {
    try {
      return await verify(ours(credential), this.#options);
    } catch (thrown) {
      // A call that failed says nothing about the key.
      if (thrown instanceof RotationError) return 'unclear';
      throw thrown;
    }
  }

  async ownKeys(secret: Secret): Promise<OwnKey[]> {
    const managementKey = this.#required();
    const now = this.#options.now();
    const ours = description(secret);
    return (await managementKey.list())
      .filter(
        ({ description, key_id, expires_at_epoch_seconds: expiry }) =>
          description === ours &&
          key_id !== managementKey.keyId &&
          (expiry == null || expiry * SECOND > now),
      )
      .map(({ key_id, issued_at_epoch_seconds }) => ({
        keyId: key_id,
        issuedAt: issued_at_epoch_seconds * SECOND,
      }));
  }

  async revoke(keyId: string): Promise<void> {
    await this.#required().revoke(keyId);
  }

  close(): void {
    this.#options.api.close();
    if (this.#managementKey instanceof ManagementKey) this.#managementKey.drop();
    this.#managementKey = undefined;
  }

  async #readManagementKey(): Promise<void> {
    const { managementKey: read, api, now } = this.#options;
    try {
      if (read !== undefined) this.#managementKey = new ManagementKey(await read(), api, now());
    } catch (thrown) {
      this.#managementKey = toRotationError(thrown);
    }
  }

  #required(): ManagementKey {
    if (this.#managementKey instanceof ManagementKey) return this.#managementKey;
    throw this.#managementKey ?? managementKeyMissing();
  }
}

/** Every credential that comes in here went out here. */
function ours(credential: RotatedCredential): Credential {
  if (credential instanceof Credential) return credential;
  throw new TypeError('a credential of another source of keys');
}
