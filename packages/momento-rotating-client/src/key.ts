import { CredentialProvider } from '@gomomento/sdk';
import { NoKeyError } from './errors.ts';

/** A key as a client needs it. */
export interface Key {
  /** Equal for two payloads that contain the same key for the same endpoint. */
  readonly id: string;
  readonly credentialProvider: CredentialProvider;
  /** Epoch milliseconds; Infinity for a key that never expires. */
  readonly expiresAt: number;
}

type Fields = Readonly<Record<string, unknown>>;

/**
 * Reads every payload that the rotator writes: the console's JSON, the JSON of Momento's API, or a bare key. The key can be
 * a v1, legacy or v2 key. `payloadName` is for errors, which never quote the payload.
 */
export function parseKey(
  payload: string | Uint8Array,
  payloadName: string,
  defaultEndpoint: string | undefined,
): Key {
  const text = decode(payload);
  const fields = text.startsWith('{') ? parseObject(text) : { apiKey: text };
  const apiKey = string(fields.apiKey ?? fields.authToken ?? fields.apiToken ?? fields.api_key);
  const jwt = string(parseObject(fromBase64(apiKey)).api_key) || apiKey;
  const claims = parseObject(fromBase64(jwt.split('.')[1] ?? ''));
  const isV2 = claims.t === 'g';
  const candidates = [string(fields.endpoint), restHost(fields), defaultEndpoint];
  const endpoint = candidates.find((host) => host !== undefined && host !== '') ?? '';
  if (isV2 && endpoint === '') {
    throw new NoKeyError(
      'ENDPOINT_MISSING',
      `${payloadName} contains a v2 key without an endpoint.`,
      'Set the option `endpoint` to the host of your cache, such as cell-4-us-west-2-1.prod.a.momentohq.com.',
    );
  }
  try {
    return {
      id: `${apiKey} ${endpoint}`,
      credentialProvider: isV2
        ? CredentialProvider.fromApiKeyV2({ apiKey, endpoint })
        : CredentialProvider.fromDisposableToken(apiKey),
      expiresAt: expiry(
        claims.exp ?? fields.validUntil ?? object(fields.key_info).expires_at_epoch_seconds,
      ),
    };
  } catch {
    // The SDK's message quotes parts of the key.
    throw new NoKeyError(
      'PAYLOAD_INVALID',
      `${payloadName} contains no Momento API key.`,
      "Store the bare key, the JSON file of Momento's console, or the JSON of Momento's API.",
    );
  }
}

function decode(payload: string | Uint8Array): string {
  const text = typeof payload === 'string' ? payload : new TextDecoder().decode(payload);
  // trim() removes white space and a byte order mark.
  return text.trim();
}

/** The console names the host of its HTTP API instead of the endpoint. */
function restHost(fields: Fields): string | undefined {
  return /^https:\/\/api\.cache\.([^/]+)/.exec(string(fields.restEndpoint))?.[1];
}

/** Momento's console writes seconds or milliseconds, as a number or a string. */
function expiry(value: unknown): number {
  const time = Number(value);
  if (!(time > 0)) return Infinity;
  return time > 1e11 ? time : time * 1000;
}

function fromBase64(text: string): string {
  return Buffer.from(text, 'base64').toString();
}

function string(value: unknown): string {
  return typeof value === 'string' ? value.trim() : '';
}

function object(value: unknown): Fields {
  return typeof value === 'object' && value !== null ? (value as Fields) : {};
}

function parseObject(text: string): Fields {
  try {
    return object(JSON.parse(text));
  } catch {
    return {};
  }
}
