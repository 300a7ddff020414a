/** The formats of a payload: console JSON, API JSON, and the bare key. Rotation preserves the format. */
import { SECOND } from '../duration';
import { RotationError } from '../errors';
import { isEpochSeconds, isId, readKey } from './api-key';

/** A payload in one of the formats. Payloads contain secrets, so they are kept only in private fields of Credential. */
export interface Payload {
  readonly apiKey: string;
  readonly refreshToken: string | undefined;
  readonly description: Description;
  /**
   * The payload with an issued key.
   *
   * @throws RotationError PAYLOAD_INVALID if the key can't be written in this format
   */
  renewed(issued: Issued): Payload;
  serialize(): Buffer;
  /** The error for a payload without the key's expiry. */
  missingExpiry(): RotationError;
}

/** The fields of a payload that describe its key. Times are in milliseconds since the epoch. */
interface Description {
  readonly keyId?: string | undefined;
  readonly role?: string | undefined;
  readonly issuedAt?: number | undefined;
  readonly expiresAt?: number | undefined;
  /** The host that applications use the key with. */
  readonly endpoint?: string | undefined;
}

/** A key that Momento issued. */
export interface Issued {
  readonly apiKey: string;
  /** Minted keys have no refresh token. */
  readonly refreshToken?: string | undefined;
  /** Milliseconds since the epoch; Infinity for a key that never expires. */
  readonly expiresAt: number;
  readonly endpoint?: string | undefined;
  /** The key's description in the answer of Momento's HTTP API. */
  readonly keyInfo?: Fields | undefined;
}

/** The error PAYLOAD_INVALID. Errors with other codes quote its `reason`. */
export class InvalidPayload extends RotationError {
  constructor(readonly reason: string) {
    super('PAYLOAD_INVALID', {
      problem: `The payload isn't a Momento credential: ${reason}.`,
      action:
        "Store the JSON from the Momento console or from Momento's API, or the bare key, unchanged as a new version.",
    });
  }
}

/** @throws RotationError PAYLOAD_INVALID */
export function readPayload(payload: Uint8Array): Payload {
  const text = decode(payload);
  let value: unknown;
  try {
    value = parseExactJson(text);
  } catch {
    const key = text.trim();
    if (key === '') throw new InvalidPayload('it is empty');
    if (readKey(key) === undefined) {
      throw new InvalidPayload('it is neither JSON nor a Momento API key');
    }
    return new BareKey(key);
  }
  if (!isObject(value)) throw new InvalidPayload("it is JSON, but it isn't an object");
  const isApiJson = API_KEY_FIELD in value;
  const consoleField = CONSOLE_KEY_FIELDS.find((name) => name in value);
  if (isApiJson && consoleField !== undefined) {
    throw new InvalidPayload(
      `it has both '${consoleField}' and '${API_KEY_FIELD}', which belong to two formats`,
    );
  }
  if (isApiJson) return new ApiJson(value);
  if (consoleField !== undefined) return new ConsoleJson(value);
  throw new InvalidPayload(`it has no field 'apiKey' or '${API_KEY_FIELD}'`);
}

/** The first payload of a secret. */
export function firstPayload(format: 'json' | 'key', { apiKey, keyInfo }: Issued): Payload {
  return format === 'key'
    ? new BareKey(apiKey)
    : new ApiJson({ api_key: apiKey, key_info: keyInfo });
}

function decode(payload: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(payload);
  } catch {
    throw new InvalidPayload("it isn't UTF-8");
  }
}

class BareKey implements Payload {
  readonly refreshToken = undefined;
  readonly description = {};

  constructor(readonly apiKey: string) {}

  renewed({ apiKey }: Issued): BareKey {
    return new BareKey(apiKey);
  }

  serialize(): Buffer {
    return Buffer.from(this.apiKey);
  }

  missingExpiry(): RotationError {
    return new InvalidPayload("a bare key doesn't contain its expiry");
  }
}

/** The names that the console has used for the field with the key, newest first. */
const CONSOLE_KEY_FIELDS = ['apiKey', 'authToken', 'apiToken'] as const;

/** The JSON that the Momento console downloads: `apiKey`, `refreshToken`, `validUntil`, and other fields. */
class ConsoleJson implements Payload {
  readonly apiKey: string;
  readonly refreshToken: string | undefined;
  readonly description: Description;
  readonly #fields: Fields;
  readonly #keyFields: readonly string[];
  readonly #expiryFormat: ExpiryFormat;

  constructor(fields: Fields) {
    this.#fields = fields;
    this.#keyFields = CONSOLE_KEY_FIELDS.filter((name) => name in fields);
    this.apiKey = keyIn(fields, this.#keyFields);
    this.refreshToken = refreshTokenIn(fields, 'refreshToken');
    const { expiresAt, format } = readExpiry(fields.validUntil);
    this.description = { expiresAt, endpoint: endpointIn(fields) };
    this.#expiryFormat = format;
  }

  renewed({ apiKey, refreshToken, expiresAt, endpoint }: Issued): ConsoleJson {
    const { type, unitMs } = this.#expiryFormat;
    const validUntil = Math.floor(expiresAt / unitMs);
    return new ConsoleJson(
      replaceFields(this.#fields, {
        ...Object.fromEntries(this.#keyFields.map((name) => [name, apiKey])),
        refreshToken,
        validUntil:
          expiresAt === Infinity ? undefined : type === 'string' ? String(validUntil) : validUntil,
        ...(endpoint !== undefined && 'endpoint' in this.#fields && { endpoint }),
      }),
    );
  }

  serialize(): Buffer {
    return Buffer.from(JSON.stringify(this.#fields));
  }

  missingExpiry(): RotationError {
    return invalidExpiry();
  }
}

function invalidExpiry(): InvalidPayload {
  return new InvalidPayload(
    "'validUntil' isn't the key's expiry as a whole number of seconds (or milliseconds) since 1970",
  );
}

/** The type and unit of the expiry. Rotation preserves them. */
interface ExpiryFormat {
  readonly type: 'number' | 'string';
  readonly unitMs: 1 | 1000;
}

/** The size distinguishes seconds from milliseconds: from 2001 to 5138 their ranges don't overlap. */
function readExpiry(validUntil: unknown): { expiresAt?: number; format: ExpiryFormat } {
  if (validUntil === undefined || validUntil === null || validUntil === 0) {
    return { format: { type: 'number', unitMs: 1000 } };
  }
  const isString = typeof validUntil === 'string';
  const value =
    isString && /^\s*\d+\s*$/.test(validUntil) ? Number(validUntil) : asNumber(validUntil);
  const type = isString ? 'string' : 'number';
  if (value !== undefined && Number.isInteger(value) && value >= 1e12 && value < 1e14) {
    return { expiresAt: value, format: { type, unitMs: 1 } };
  }
  if (isEpochSeconds(value)) return { expiresAt: value * SECOND, format: { type, unitMs: 1000 } };
  throw invalidExpiry();
}

const API_KEY_FIELD = 'api_key';

/** The JSON of Momento's HTTP API and CLI: `api_key`, `refresh_token`, `key_info`. */
class ApiJson implements Payload {
  readonly apiKey: string;
  readonly refreshToken: string | undefined;
  readonly description: Description;
  readonly #fields: Fields;

  constructor(fields: Fields) {
    this.#fields = fields;
    this.apiKey = keyIn(fields, [API_KEY_FIELD]);
    this.refreshToken = refreshTokenIn(fields, 'refresh_token');
    this.description = { ...storedKeyInfo(fields.key_info ?? {}), endpoint: endpointIn(fields) };
  }

  renewed({ apiKey, refreshToken, expiresAt, keyInfo }: Issued): ApiJson {
    const expiry = { expires_at_epoch_seconds: Math.floor(expiresAt / SECOND) };
    return new ApiJson(
      replaceFields(this.#fields, {
        api_key: apiKey,
        refresh_token: refreshToken,
        // The stored `key_info` describes the previous key, so it isn't kept.
        key_info: keyInfo ?? (expiresAt === Infinity ? undefined : expiry),
      }),
    );
  }

  serialize(): Buffer {
    return Buffer.from(JSON.stringify(this.#fields));
  }

  missingExpiry(): RotationError {
    return notSeconds('expires_at_epoch_seconds');
  }
}

function storedKeyInfo(info: unknown): Description {
  if (!isObject(info)) throw new InvalidPayload("'key_info' isn't an object");
  return {
    keyId: readId(info, 'key_id'),
    role: readId(info, 'role_id'),
    issuedAt: readTime(info, 'issued_at_epoch_seconds'),
    expiresAt: readTime(info, 'expires_at_epoch_seconds'),
  };
}

function readId(info: Fields, name: string): string | undefined {
  const value = info[name] ?? undefined;
  if (value === undefined || isId(value)) return value;
  throw new InvalidPayload(`'key_info.${name}' isn't an id`);
}

function readTime(info: Fields, name: string): number | undefined {
  const value = info[name] ?? undefined;
  if (value === undefined) return undefined;
  const seconds = asNumber(value);
  if (isEpochSeconds(seconds)) return seconds * SECOND;
  throw notSeconds(name);
}

function notSeconds(name: string): InvalidPayload {
  return new InvalidPayload(`'key_info.${name}' isn't a whole number of seconds since 1970`);
}

/** The key, without the white space that `echo` adds. */
function keyIn(fields: Fields, names: readonly string[]): string {
  const named = names.map((name) => `'${name}'`).join(' and ');
  const [value, ...others] = new Set(names.map((name) => fields[name]));
  if (others.length > 0) throw new InvalidPayload(`it has ${named} with different values`);
  if (typeof value !== 'string') throw new InvalidPayload(`${named} isn't a string`);
  if (value.trim() === '') throw new InvalidPayload(`${named} is empty`);
  return value.trim();
}

function refreshTokenIn(fields: Fields, name: string): string | undefined {
  const value = fields[name] ?? '';
  if (typeof value !== 'string') throw new InvalidPayload(`'${name}' isn't a string`);
  return value.trim() === '' ? undefined : value.trim();
}

/** The console's JSON contains the host, or the address of its REST service. */
function endpointIn({ endpoint, restEndpoint }: Fields): string | undefined {
  const host = typeof endpoint === 'string' ? endpoint : '';
  if (/^[a-z0-9.-]+$/i.test(host)) return host;
  const url = typeof restEndpoint === 'string' ? restEndpoint : '';
  return /^https:\/\/api\.cache\.([a-z0-9.-]+)\/?$/i.exec(url)?.[1];
}

// ES2026 ("JSON.parse source text access", in V8 since Node 21), not yet in TypeScript's library.
declare global {
  interface JSON {
    parse(
      text: string,
      reviver: (key: string, value: unknown, context: { source: string }) => unknown,
    ): unknown;
    rawJSON(text: string): unknown;
    isRawJSON(value: unknown): value is { readonly rawJSON: string };
  }
}

export type Fields = Readonly<Partial<Record<string, unknown>>>;

/**
 * Parses JSON. A number that JavaScript would write differently, such as a large id, stays a text.
 *
 * @throws SyntaxError whose message might quote the text
 */
function parseExactJson(text: string): unknown {
  return JSON.parse(text, (_key, value, { source }) =>
    typeof value === 'number' && String(value) !== source ? JSON.rawJSON(source) : value,
  );
}

export function isObject(value: unknown): value is Fields {
  return (
    typeof value === 'object' && value !== null && !Array.isArray(value) && !JSON.isRawJSON(value)
  );
}

function asNumber(value: unknown): number | undefined {
  if (JSON.isRawJSON(value)) return Number(value.rawJSON);
  return typeof value === 'number' ? value : undefined;
}

/** A copy with changed values and the same order of fields, without fields whose new value is undefined. */
function replaceFields(fields: Fields, changes: Fields): Fields {
  const entries = Object.entries({ ...fields, ...changes });
  return Object.fromEntries(entries.filter(([, value]) => value !== undefined));
}
