/** The JSON that Momento's HTTP API answers and its CLI prints: `api_key`, `refresh_token`, `key_info`. */
import type { RotationError } from '../errors';
import { asNumber, isObject, replaceFields, type Fields } from './json';
import { isId } from './key';
import {
  endpointFrom,
  invalid,
  keyFrom,
  refreshTokenFrom,
  type Issued,
  type Payload,
  type Told,
} from './payload';

export const API_KEY_FIELD = 'api_key';

export class ApiJson implements Payload {
  readonly apiKey: string;
  readonly refreshToken: string | undefined;
  readonly told: Told;
  readonly #fields: Fields;

  constructor(fields: Fields) {
    this.#fields = fields;
    this.apiKey = keyFrom(fields, [API_KEY_FIELD]);
    this.refreshToken = refreshTokenFrom(fields, 'refresh_token');
    this.told = { ...readKeyInfo(fields.key_info ?? {}), endpoint: endpointFrom(fields) };
  }

  renewed({ apiKey, refreshToken, expiresAt, keyInfo }: Issued): ApiJson {
    return new ApiJson(
      replaceFields(this.#fields, {
        api_key: apiKey,
        refresh_token: refreshToken,
        // The old one would describe another key.
        key_info: keyInfo ?? { expires_at_epoch_seconds: Math.floor(expiresAt / 1000) },
      }),
    );
  }

  serialize(): Buffer {
    return Buffer.from(JSON.stringify(this.#fields));
  }

  noExpiry(): RotationError {
    return notSeconds('expires_at_epoch_seconds');
  }
}

function readKeyInfo(info: unknown): Told {
  if (!isObject(info)) throw invalid("'key_info' is not an object");
  return {
    keyId: readId(info, 'key_id'),
    role: readId(info, 'role_id'),
    issuedAt: readTime(info, 'issued_at_epoch_seconds'),
    expiresAt: readTime(info, 'expires_at_epoch_seconds'),
  };
}

function readId(info: Fields, name: string): string | undefined {
  const value = info[name] ?? undefined;
  if (value !== undefined && !isId(value)) throw invalid(`'key_info.${name}' is not an id`);
  return value;
}

function readTime(info: Fields, name: string): number | undefined {
  const value = info[name] ?? undefined;
  if (value === undefined) return undefined;
  const seconds = asNumber(value) ?? 0;
  if (Number.isInteger(seconds) && seconds >= 1e9 && seconds < 1e11) return seconds * 1000;
  throw notSeconds(name);
}

function notSeconds(name: string): RotationError {
  return invalid(`'key_info.${name}' is not a whole number of seconds since 1970`);
}
