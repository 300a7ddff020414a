/** The JSON that the Momento console downloads: `apiKey`, `refreshToken`, `validUntil`, and whatever else. */
import type { RotationError } from '../errors';
import { asNumber, replaceFields, type Fields } from './json';
import {
  endpointFrom,
  invalid,
  keyFrom,
  refreshTokenFrom,
  type Issued,
  type Payload,
  type Told,
} from './payload';

/** The names that the console has given to the key, newest first. */
export const CONSOLE_KEY_FIELDS = ['apiKey', 'authToken', 'apiToken'] as const;

export class ConsoleJson implements Payload {
  readonly apiKey: string;
  readonly refreshToken: string | undefined;
  readonly told: Told;
  readonly #fields: Fields;
  readonly #keyFields: readonly string[];
  readonly #expiryForm: ExpiryForm;

  constructor(fields: Fields) {
    this.#fields = fields;
    this.#keyFields = CONSOLE_KEY_FIELDS.filter((name) => name in fields);
    this.apiKey = keyFrom(fields, this.#keyFields);
    this.refreshToken = refreshTokenFrom(fields, 'refreshToken');
    const { expiresAt, form } = readExpiry(fields.validUntil);
    this.told = { expiresAt, endpoint: endpointFrom(fields) };
    this.#expiryForm = form;
  }

  renewed({ apiKey, refreshToken, expiresAt, endpoint }: Issued): ConsoleJson {
    const { type, unitMs } = this.#expiryForm;
    const validUntil = Math.floor(expiresAt / unitMs);
    return new ConsoleJson(
      replaceFields(this.#fields, {
        ...Object.fromEntries(this.#keyFields.map((name) => [name, apiKey])),
        refreshToken,
        validUntil: type === 'string' ? String(validUntil) : validUntil,
        ...(endpoint !== undefined && 'endpoint' in this.#fields && { endpoint }),
      }),
    );
  }

  serialize(): Buffer {
    return Buffer.from(JSON.stringify(this.#fields));
  }

  noExpiry(): RotationError {
    return unreadableExpiry();
  }
}

function unreadableExpiry(): RotationError {
  return invalid(
    "'validUntil' is not the key's expiry as a whole number of seconds (or milliseconds) since 1970",
  );
}

/** How the console wrote the expiry; what is written back has the same form. */
interface ExpiryForm {
  readonly type: 'number' | 'string';
  readonly unitMs: 1 | 1000;
}

/** Seconds and milliseconds are told apart by size: between 2001 and 5138 the two ranges do not meet. */
function readExpiry(validUntil: unknown): { expiresAt?: number; form: ExpiryForm } {
  if (validUntil === undefined || validUntil === null || validUntil === 0) {
    return { form: { type: 'number', unitMs: 1000 } };
  }
  const isString = typeof validUntil === 'string';
  const value =
    isString && /^\s*\d+\s*$/.test(validUntil) ? Number(validUntil) : asNumber(validUntil);
  const type = isString ? 'string' : 'number';
  if (value !== undefined && Number.isInteger(value)) {
    if (value >= 1e9 && value < 1e11) {
      return { expiresAt: value * 1000, form: { type, unitMs: 1000 } };
    }
    if (value >= 1e12 && value < 1e14) return { expiresAt: value, form: { type, unitMs: 1 } };
  }
  throw unreadableExpiry();
}
