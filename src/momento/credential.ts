import { createHash } from 'node:crypto';
import { inspect } from 'node:util';
import type { RotationError } from '../errors';
import type { Credential as StoredCredential, Secret } from '../rotation/ports';
import { isToken, readKey, type KeyKind } from './api-key';
import { firstPayload, InvalidPayload, readPayload, type Issued, type Payload } from './payload';

/** Secret Manager's limit for one payload, in bytes. */
const MAX_PAYLOAD_BYTES = 64 * 1024;

/** Room for a longer key, refresh token and `key_info`, because no key must be issued that can't be stored. */
const GROWTH_BYTES = 2 * 1024;

/**
 * A Momento credential, in whichever format it is stored. Its secrets are private fields, so that printing, logging or
 * serializing the object shows a fingerprint only.
 */
export class Credential implements StoredCredential {
  readonly kind: KeyKind;
  readonly keyId: string | undefined;
  readonly expiresAt: number;
  readonly issuedAt: number | undefined;
  /** The key's role, if the payload contains it. */
  readonly role: string | undefined;
  /** The host to use the key with, if the payload contains it. */
  readonly endpoint: string | undefined;
  readonly #payload: Payload;

  private constructor(payload: Payload) {
    const { apiKey, refreshToken, description } = payload;
    const key = readKey(apiKey);
    if (key === undefined) {
      throw new InvalidPayload(
        "its key doesn't decode as a Momento API key, so it might have been cut or changed",
      );
    }
    if (key.kind === 'v2' && refreshToken !== undefined && !isToken(refreshToken)) {
      throw new InvalidPayload("its refresh token isn't a token");
    }
    const { length } = payload.serialize();
    if (length > MAX_PAYLOAD_BYTES) throw payloadTooLong(length);
    this.#payload = payload;
    this.kind = key.kind;
    this.keyId = key.id;
    this.endpoint = description.endpoint;
    // If an operator replaced only the key in the payload, the description still describes the old key.
    const isOther =
      key.id !== undefined && description.keyId !== undefined && key.id !== description.keyId;
    const known = isOther ? {} : description;
    this.role = known.role;
    // The lifetime of the next key depends on the time of issue, so the description must certainly describe this key.
    this.issuedAt = key.issuedAt ?? (known.keyId === key.id ? known.issuedAt : undefined);
    this.expiresAt =
      (key.kind === 'v2' ? key.expiresAt : undefined) ??
      known.expiresAt ??
      key.expiresAt ??
      Infinity;
  }

  /**
   * Reads the payload of a version.
   *
   * @throws RotationError PAYLOAD_INVALID, which doesn't quote the payload
   */
  static parse(payload: Uint8Array): Credential {
    if (payload.length > MAX_PAYLOAD_BYTES) throw payloadTooLong(payload.length);
    const credential = new Credential(readPayload(payload));
    if (credential.serialize().length > MAX_PAYLOAD_BYTES - GROWTH_BYTES) {
      throw new InvalidPayload(
        `it leaves less than ${GROWTH_BYTES} bytes for a longer key below Secret Manager's limit of ${MAX_PAYLOAD_BYTES}`,
      );
    }
    return credential;
  }

  /**
   * The first payload of a secret.
   *
   * @throws RotationError as for `renewed`
   */
  static first(format: Secret['payload'], issued: Issued): Credential {
    return new Credential(firstPayload(format, issued));
  }

  get apiKey(): string {
    return this.#payload.apiKey;
  }

  get refreshToken(): string | undefined {
    return this.#payload.refreshToken;
  }

  /** The error for a payload without the key's expiry, which a refresh through the SDK needs. */
  get missingExpiry(): RotationError | undefined {
    return this.#payload.description.expiresAt === undefined
      ? this.#payload.missingExpiry()
      : undefined;
  }

  get fingerprint(): string {
    return fingerprint(this.apiKey);
  }

  get tokenFingerprint(): string | undefined {
    return this.refreshToken === undefined ? undefined : fingerprint(this.refreshToken);
  }

  /**
   * The payload with an issued key. Format, field names and all other fields stay.
   *
   * @throws RotationError PAYLOAD_INVALID if the key is invalid, or the payload too long
   */
  renewed(issued: Issued): Credential {
    return new Credential(this.#payload.renewed(issued));
  }

  serialize(): Buffer {
    return this.#payload.serialize();
  }

  toJSON(): string {
    return `Credential(${this.fingerprint})`;
  }

  [inspect.custom](): string {
    return this.toJSON();
  }
}

function fingerprint(secret: string): string {
  return createHash('sha256').update(secret).digest('hex').slice(0, 8);
}

function payloadTooLong(bytes: number): InvalidPayload {
  return new InvalidPayload(
    `it is ${bytes} bytes long, and Secret Manager stores at most ${MAX_PAYLOAD_BYTES}`,
  );
}
