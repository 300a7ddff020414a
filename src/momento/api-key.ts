/** Decodes API keys and refresh tokens. It doesn't call a service or verify signatures. */
import { jwtDecode } from 'jwt-decode';
import { SECOND } from '../duration';

/**
 * v1: base64 of the JSON `{endpoint, api_key}`. Legacy: a JWT with the claims `cp` (control host) and `c` (cache host).
 * v2: a JWT with the claim `t: "g"`. Source: `decodeAuthToken` and `isV2ApiKey` of @gomomento/sdk-core 1.118.
 */
export type KeyKind = 'v1' | 'legacy' | 'v2';

interface KeyFacts {
  readonly kind: KeyKind;
  /** The key's public id, which revokes it. Keys of older kinds have none. */
  readonly id?: string | undefined;
  /** Milliseconds since the epoch. */
  readonly issuedAt?: number | undefined;
  /** Milliseconds since the epoch. Unset for a v2 key that never expires, and for older keys without an expiry. */
  readonly expiresAt?: number | undefined;
}

// The decoder reads only the middle part, so it would also decode part of a file that contains a key.
const JWT = /^[\w=-]+(\.[\w=-]+){2}$/;

type Claims = Partial<Record<string, unknown>>;

/** @returns undefined if the text isn't a key of a known kind */
export function readKey(apiKey: string): KeyFacts | undefined {
  const v1 = decodeV1(apiKey);
  if (v1 !== undefined) return { kind: 'v1', ...times(decodeJwt(v1.key)) };
  const claims = JWT.test(apiKey) ? decodeJwt(apiKey) : undefined;
  if (claims === undefined) return undefined;
  if (claims.t === 'g') return readV2(claims);
  return isText(claims.cp) && isText(claims.c) ? { kind: 'legacy', ...times(claims) } : undefined;
}

/** Removes white space and byte order marks around the key, and around the parts of a v1 key. */
export function trimKey(apiKey: string): string {
  const text = apiKey.trim();
  const v1 = decodeV1(text);
  if (v1 === undefined) return text;
  const trimmed = { endpoint: v1.endpoint.trim(), api_key: v1.key.trim() };
  const isTrimmed = trimmed.endpoint === v1.endpoint && trimmed.api_key === v1.key;
  return isTrimmed ? text : Buffer.from(JSON.stringify(trimmed)).toString('base64');
}

/** The id of the key that a v2 refresh token was issued with, if the token contains it. */
export function keyIdOfRefreshToken(token: string): string | undefined {
  const claims = decodeJwt(token);
  return claims?.t === 'gr' && isId(claims.akid) ? claims.akid : undefined;
}

/** Whether a value can be the id of a key or a role. Ids are written to logs and paths. */
export function isId(value: unknown): value is string {
  return typeof value === 'string' && /^[\x21-\x7e]{1,200}$/.test(value);
}

/** Whether a text can be sent in the `Authorization` header. Node.js limits all headers to 16 KiB. */
export function isToken(text: string): boolean {
  return /^[\x21-\x7e]{1,8192}$/.test(text);
}

/** Whether a value is a time in seconds since the epoch, from 2001 to 5138: milliseconds are larger. */
export function isEpochSeconds(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 1e9 && value < 1e11;
}

/** A text with an invalid expiry or id isn't a key. If an invalid expiry were ignored, the key would never expire. */
function readV2(claims: Claims): KeyFacts | undefined {
  const { jti, exp } = claims;
  if (jti !== undefined && !isId(jti)) return undefined;
  if (exp !== undefined && !isTime(exp)) return undefined;
  return { kind: 'v2', id: jti, ...times(claims) };
}

function times({ iat, exp }: Claims = {}): Pick<KeyFacts, 'issuedAt' | 'expiresAt'> {
  return {
    issuedAt: isTime(iat) ? iat * SECOND : undefined,
    expiresAt: isTime(exp) ? exp * SECOND : undefined,
  };
}

/** Seconds since the epoch, until the year 5138. Milliseconds are larger. */
function isTime(value: unknown): value is number {
  return typeof value === 'number' && value > 0 && value < 1e11;
}

/** Discards the library's errors, because they quote the token. */
function decodeJwt(token: string): Claims | undefined {
  try {
    return asClaims(jwtDecode(token));
  } catch {
    return undefined;
  }
}

function decodeV1(text: string): { readonly endpoint: string; readonly key: string } | undefined {
  const bytes = Buffer.from(text, 'base64');
  // Buffer skips invalid characters, but Momento's SDK rejects a key that contains them.
  if (bytes.toString('base64') !== text) return undefined;
  try {
    const { endpoint, api_key: key } = asClaims(JSON.parse(bytes.toString())) ?? {};
    return isText(endpoint) && isText(key) ? { endpoint, key } : undefined;
  } catch {
    return undefined;
  }
}

function asClaims(value: unknown): Claims | undefined {
  return typeof value === 'object' && value !== null ? value : undefined;
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value.trim() !== '';
}
