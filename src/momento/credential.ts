import { createHash } from 'node:crypto';
import { inspect } from 'node:util';
import type { RotationError } from '../errors';
import type { Credential as RotatedCredential, Secret } from '../rotation/ports';
import { ApiJson } from './api-json';
import { readPayload } from './forms';
import { isToken, readKey, type KeyKind } from './key';
import { BareKey } from './bare-key';
import { invalid, type Issued, type Payload } from './payload';

/** Secret Manager's limit for one payload, in bytes. */
const MAX_PAYLOAD_BYTES = 64 * 1024;

/** Room kept for the next key and refresh token being longer than these: what cannot be stored must not be issued. */
const GROWTH_BYTES = 2 * 1024;

/**
 * A Momento credential, in whichever form it is stored: API key, what renews it, expiry. Its secrets are private fields,
 * so that printing, logging or serialising the object shows a fingerprint only.
 */
export class Credential implements RotatedCredential {
  readonly kind: KeyKind;
  readonly keyId?: string;
  readonly expiresAt: number;
  readonly issuedAt?: number;
  /** The key's role, where the payload tells. */
  readonly role: string | undefined;
  /** The host to use the key with, where the payload tells. */
  readonly endpoint: string | undefined;
  readonly #payload: Payload;

  private constructor(payload: Payload) {
    const { apiKey, refreshToken, told } = payload;
    const key = readKey(apiKey);
    if (key === undefined) {
      throw invalid(
        'its key does not decode as a Momento API key; it may have been cut or changed',
      );
    }
    if (key.kind === 'v2' && refreshToken !== undefined && !isToken(refreshToken)) {
      throw invalid('its refresh token holds characters that no token of Momento has');
    }
    const { length } = payload.serialize();
    if (length > MAX_PAYLOAD_BYTES) throw tooLong(length);
    this.#payload = payload;
    this.kind = key.kind;
    if (key.id !== undefined) this.keyId = key.id;
    this.endpoint = told.endpoint;
    // What describes another key, as in a file that somebody put a new key into, says nothing about this one.
    const isOther = key.id !== undefined && told.keyId !== undefined && key.id !== told.keyId;
    const known = isOther ? {} : told;
    this.role = known.role;
    if (known.issuedAt !== undefined) this.issuedAt = known.issuedAt;
    this.expiresAt =
      (key.kind === 'v2' ? key.expiresAt : undefined) ??
      known.expiresAt ??
      key.expiresAt ??
      Infinity;
  }

  /**
   * Reads the payload of a secret version.
   *
   * @throws RotationError PAYLOAD_INVALID, which says what is wrong without quoting any of it
   */
  static parse(payload: Uint8Array): Credential {
    if (payload.length > MAX_PAYLOAD_BYTES) throw tooLong(payload.length);
    const credential = new Credential(readPayload(payload));
    if (credential.serialize().length > MAX_PAYLOAD_BYTES - GROWTH_BYTES) {
      throw invalid(
        `it leaves less than ${GROWTH_BYTES} bytes below Secret Manager's limit of ${MAX_PAYLOAD_BYTES}, ` +
          'so that a longer key might not fit; take fields out that no reader needs',
      );
    }
    return credential;
  }

  /**
   * The first payload of a secret.
   *
   * @throws RotationError as for `renewed`
   */
  static first(form: Secret['payload'], { apiKey, keyInfo }: Issued): Credential {
    return new Credential(
      form === 'key' ? new BareKey(apiKey) : new ApiJson({ api_key: apiKey, key_info: keyInfo }),
    );
  }

  get apiKey(): string {
    return this.#payload.apiKey;
  }

  get refreshToken(): string | undefined {
    return this.#payload.refreshToken;
  }

  /** The error for a payload that does not tell when its key expires, as one has to whose key the SDK refreshes. */
  get noExpiry(): RotationError | undefined {
    return this.#payload.told.expiresAt === undefined ? this.#payload.noExpiry() : undefined;
  }

  get fingerprint(): string {
    return createHash('sha256').update(this.apiKey).digest('hex').slice(0, 8);
  }

  /**
   * The same payload with what was issued in it: same form, same field names, all else untouched.
   *
   * @throws RotationError PAYLOAD_INVALID if what was issued is no credential, or cannot be stored
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

function tooLong(bytes: number): Error {
  return invalid(`it is ${bytes} bytes long, and ${MAX_PAYLOAD_BYTES} are allowed`);
}
