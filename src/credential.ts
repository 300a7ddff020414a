import { createHash } from 'node:crypto';
import { inspect } from 'node:util';
import { RotationError } from './errors';

// ES2026 (stage 3 "JSON.parse source text access", in V8 since Node 21), not yet in TypeScript's library.
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

/** Secret Manager's limit for one payload, in bytes. */
const MAX_PAYLOAD_BYTES = 64 * 1024;

/** Room kept for the next key and refresh token being longer than these: what cannot be stored must not be issued. */
const GROWTH_BYTES = 2 * 1024;

/** The names that the Momento console has given to the key, newest first. */
const KEY_FIELDS = ['apiKey', 'authToken', 'apiToken'] as const;

/** How the console wrote the expiry; what is written back has the same form. */
interface ExpiryForm {
  readonly type: 'number' | 'string';
  readonly unitMs: 1 | 1000;
}

/** What Momento gives for an old credential. Times are in milliseconds since the epoch. */
export interface Renewal {
  readonly apiKey: string;
  readonly refreshToken: string;
  readonly expiresAt: number;
  readonly endpoint: string;
}

/**
 * `v1` (base64 JSON) and `legacy` (JWT that names its hosts) keys can be refreshed; `v2` keys (JWT, global) cannot.
 */
export type KeyKind = 'v1' | 'legacy' | 'v2';

/**
 * A Momento credential as the console's JSON download holds it: API key, refresh token, expiry, and whatever else is in
 * the file. Its secrets are private fields, so that printing, logging or serialising the object shows a fingerprint
 * only.
 */
export class Credential {
  readonly kind: KeyKind;
  /** When the API key expires, in milliseconds since the epoch; Infinity for a key without an expiry. */
  readonly expiresAt: number;
  readonly #fields: Readonly<Record<string, unknown>>;
  readonly #keyFields: readonly string[];
  readonly #apiKey: string;
  readonly #refreshToken: string | undefined;
  readonly #expiryForm: ExpiryForm;

  private constructor(fields: Readonly<Record<string, unknown>>) {
    this.#fields = fields;
    this.#keyFields = KEY_FIELDS.filter((name) => name in fields);
    this.#apiKey = readKey(fields, this.#keyFields);
    this.kind = keyKind(this.#apiKey);
    this.#refreshToken = readRefreshToken(fields);
    const canBeRefreshed = this.kind !== 'v2' && this.#refreshToken !== undefined;
    const expiry = readExpiry(fields, canBeRefreshed);
    this.expiresAt = expiry.expiresAt;
    this.#expiryForm = expiry.form;
  }

  /**
   * Reads the payload of a secret version.
   *
   * @throws RotationError PAYLOAD_INVALID, which says what is wrong without quoting any of it
   */
  static parse(payload: Uint8Array): Credential {
    if (payload.length > MAX_PAYLOAD_BYTES) {
      throw invalid(`it is ${payload.length} bytes long, and ${MAX_PAYLOAD_BYTES} are allowed`);
    }
    const credential = new Credential(parseObject(payload));
    if (credential.serialize().length > MAX_PAYLOAD_BYTES - GROWTH_BYTES) {
      throw invalid(
        `it leaves less than ${GROWTH_BYTES} bytes below Secret Manager's limit of ${MAX_PAYLOAD_BYTES}, ` +
          'so that a longer key might not fit; take fields out that no reader needs',
      );
    }
    return credential;
  }

  get apiKey(): string {
    return this.#apiKey;
  }

  get refreshToken(): string | undefined {
    return this.#refreshToken;
  }

  /** Names the key in logs and answers: the first 8 hex digits of its SHA-256. */
  get fingerprint(): string {
    return createHash('sha256').update(this.#apiKey).digest('hex').slice(0, 8);
  }

  /** The same file with the renewed values in it: same field names, same form of the expiry, all else untouched. */
  renewed(renewal: Renewal): Credential {
    const { type, unitMs } = this.#expiryForm;
    const validUntil = Math.floor(renewal.expiresAt / unitMs);
    return new Credential({
      ...this.#fields,
      ...Object.fromEntries(this.#keyFields.map((name) => [name, renewal.apiKey])),
      refreshToken: renewal.refreshToken,
      validUntil: type === 'string' ? String(validUntil) : validUntil,
      ...('endpoint' in this.#fields && { endpoint: renewal.endpoint }),
    });
  }

  /** The payload of a secret version. */
  serialize(): Buffer {
    return Buffer.from(JSON.stringify(this.#fields));
  }

  toJSON(): string {
    return `Credential(${this.fingerprint})`;
  }

  [inspect.custom](): string {
    return this.toJSON();
  }
}

function invalid(problem: string): RotationError {
  return new RotationError(
    'PAYLOAD_INVALID',
    `The payload of this secret is not a Momento credential: ${problem}. Nothing was changed; readers get this payload. ` +
      "Store the JSON that the Momento console downloads, as it is, as a new version (README, 'Store the first credential').",
  );
}

function parseObject(payload: Uint8Array): Record<string, unknown> {
  if (payload.length === 0) throw invalid('it is empty');
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(payload);
  } catch {
    throw invalid('it is not UTF-8');
  }
  let value: unknown;
  try {
    value = JSON.parse(text, keepNumbersAsWritten);
  } catch {
    throw invalid('it is not JSON');
  }
  if (
    typeof value !== 'object' ||
    value === null ||
    Array.isArray(value) ||
    JSON.isRawJSON(value)
  ) {
    throw invalid('it is JSON, but not an object');
  }
  return value as Record<string, unknown>;
}

/** A number that JavaScript would write differently (a large id, say) is kept as its text. */
function keepNumbersAsWritten(_key: string, value: unknown, context: { source: string }): unknown {
  return typeof value === 'number' && String(value) !== context.source
    ? JSON.rawJSON(context.source)
    : value;
}

function readKey(fields: Readonly<Record<string, unknown>>, names: readonly string[]): string {
  const values = new Set(names.map((name) => fields[name]));
  const [value] = values;
  if (values.size === 0) throw invalid("it has no field 'apiKey'");
  const named = names.map((name) => `'${name}'`).join(' and ');
  if (values.size > 1) throw invalid(`it has ${named} with different values; keep one of them`);
  if (typeof value !== 'string') throw invalid(`${named} is not a string`);
  // A key that was stored with `echo` ends in a newline, which Momento's SDK does not take.
  if (value.trim() === '') throw invalid(`${named} is empty`);
  return value.trim();
}

function readRefreshToken(fields: Readonly<Record<string, unknown>>): string | undefined {
  const { refreshToken } = fields;
  if (refreshToken === undefined || refreshToken === null) return undefined;
  if (typeof refreshToken !== 'string') throw invalid("'refreshToken' is not a string");
  return refreshToken.trim() === '' ? undefined : refreshToken.trim();
}

/**
 * Seconds and milliseconds are told apart by size: between 2001 and 5138 the two ranges do not meet. A key that cannot be
 * refreshed may have no expiry, and what is to be said of it then is not that.
 */
function readExpiry(
  fields: Readonly<Record<string, unknown>>,
  isRequired: boolean,
): { expiresAt: number; form: ExpiryForm } {
  const { validUntil } = fields;
  if (!isRequired && (validUntil === undefined || validUntil === null || validUntil === 0)) {
    return { expiresAt: Infinity, form: { type: 'number', unitMs: 1000 } };
  }
  const text = JSON.isRawJSON(validUntil) ? validUntil.rawJSON : validUntil;
  const value =
    text !== validUntil || (typeof text === 'string' && /^\s*\d+\s*$/.test(text))
      ? Number(text)
      : text;
  const type = typeof validUntil === 'string' ? 'string' : 'number';
  if (typeof value === 'number' && Number.isInteger(value)) {
    if (value >= 1e9 && value < 1e11) {
      return { expiresAt: value * 1000, form: { type, unitMs: 1000 } };
    }
    if (value >= 1e12 && value < 1e14) return { expiresAt: value, form: { type, unitMs: 1 } };
  }
  throw invalid(
    "'validUntil' is not the key's expiry as a whole number of seconds (or milliseconds) since 1970",
  );
}

/**
 * What kind of key this is, by its shape.
 *
 * v1: base64 of the JSON `{endpoint, api_key}`. Legacy: a JWT with the claims `cp` (control host) and `c` (cache host).
 * v2: a JWT with the claim `t: "g"`. Source: `decodeAuthToken` and `isV2ApiKey` of @gomomento/sdk-core 1.118.
 */
function keyKind(apiKey: string): KeyKind {
  const v1 = decodeJson(apiKey, 'base64');
  if (isNonEmptyString(v1?.endpoint) && isNonEmptyString(v1.api_key)) return 'v1';
  const claims = decodeJson(apiKey.split('.')[1] ?? '', 'base64url');
  if (claims?.t === 'g') return 'v2';
  if (isNonEmptyString(claims?.cp) && isNonEmptyString(claims.c)) return 'legacy';
  throw invalid('its key does not decode as a Momento API key; it may have been cut or changed');
}

function decodeJson(
  text: string,
  encoding: 'base64' | 'base64url',
): Record<string, unknown> | undefined {
  const bytes = Buffer.from(text, encoding);
  // Buffer skips what is not base64; a key that only decodes after skipping would not decode in Momento's SDK.
  if (encoding === 'base64' && bytes.toString('base64') !== text) return undefined;
  try {
    const value: unknown = JSON.parse(bytes.toString());
    return typeof value === 'object' && value !== null
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined;
  }
}

function isNonEmptyString(value: unknown): value is string {
  return typeof value === 'string' && value !== '';
}
