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
  #managementKey: Promise<ManagementKey | RotationError> | undefined;

  constructor(options: SessionOptions) {
    this.#options = options;
  }

  prepare(): void {
    if (this.#options.managementKey !== undefined) void this.#manage();
  }

  renewal(secret: Secret, current: CurrentKey | undefined): Promise<Renewal | RotationError> {
    return renewal(secret, current && { ...current, credential: ours(current.credential) }, {
      ...this.#options,
      managementKey: this.#options.managementKey && (() => this.#manage()),
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
    const managementKey = await this.#required();
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

  async revoke(keyId: string, confirm?: () => Promise<boolean>): Promise<boolean> {
    return (await this.#required()).revoke(keyId, confirm);
  }

  close(): void {
    this.#options.api.close();
    void this.#managementKey?.then((key) => {
      if (key instanceof ManagementKey) key.drop();
    });
  }

  /** What is wrong with the management key stands in the way of those who need it. */
  #manage(): Promise<ManagementKey | RotationError> {
    const { managementKey: read, api, now } = this.#options;
    const readKey = async (): Promise<ManagementKey> => {
      if (read === undefined) throw managementKeyMissing();
      return new ManagementKey(await read(), api, now());
    };
    this.#managementKey ??= readKey().catch(toRotationError);
    return this.#managementKey;
  }

  async #required(): Promise<ManagementKey> {
    const managementKey = await this.#manage();
    if (managementKey instanceof RotationError) throw managementKey;
    return managementKey;
  }
}

/** Every credential that comes in here went out here. */
function ours(credential: RotatedCredential): Credential {
  if (credential instanceof Credential) return credential;
  throw new TypeError('a credential of another source of keys');
}
