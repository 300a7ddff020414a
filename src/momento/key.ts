/** What an API key tells of itself. Nothing here asks anybody, and nothing checks a signature. */
import { jwtDecode } from 'jwt-decode';

/**
 * v1: base64 of the JSON `{endpoint, api_key}`. Legacy: a JWT with the claims `cp` (control host) and `c` (cache host).
 * v2: a JWT with the claim `t: "g"`. Source: `decodeAuthToken` and `isV2ApiKey` of @gomomento/sdk-core 1.118.
 */
export type KeyKind = 'v1' | 'legacy' | 'v2';

export interface KeyFacts {
  readonly kind: KeyKind;
  /** What Momento calls the key: no secret, and the only handle to end it by. Keys of older kinds have none. */
  readonly id?: string;
  /** Milliseconds since the epoch. Unset for a v2 key that never expires; keys of older kinds need not tell. */
  readonly expiresAt?: number;
}

// Part of a file that holds a key decodes as one, too: the decoder looks at the middle only.
const JWT = /^[\w=-]+(\.[\w=-]+){2}$/;

type Claims = Partial<Record<string, unknown>>;

/** Undefined if it is not a key of a kind that is known. */
export function readKey(apiKey: string): KeyFacts | undefined {
  const v1 = decodeBase64(apiKey);
  if (isText(v1?.endpoint) && isText(v1.api_key)) {
    return { kind: 'v1', ...expiry(decodeJwt(v1.api_key)) };
  }
  const claims = JWT.test(apiKey) ? decodeJwt(apiKey) : undefined;
  if (claims === undefined) return undefined;
  if (claims.t === 'g') return readV2(claims);
  return isText(claims.cp) && isText(claims.c) ? { kind: 'legacy', ...expiry(claims) } : undefined;
}

/** The id of the key that a v2 refresh token belongs to, where the token tells. */
export function keyIdOfRefreshToken(token: string): string | undefined {
  const claims = decodeJwt(token);
  return claims?.t === 'gr' && isId(claims.akid) ? claims.akid : undefined;
}

/** Whether this can be the id of a key or a role: it goes into logs and addresses. */
export function isId(value: unknown): value is string {
  return typeof value === 'string' && ID.test(value);
}

export const ID = /^[\x21-\x7e]{1,200}$/;

/** Whether a text can stand in a header. */
export function isToken(text: string): boolean {
  return /^[\x21-\x7e]+$/.test(text);
}

/** An expiry or an id that makes no sense must not be taken for one that is not there: such a key would never end. */
function readV2(claims: Claims): KeyFacts | undefined {
  const { jti, exp } = claims;
  if (jti !== undefined && !isId(jti)) return undefined;
  if (exp !== undefined && !isTime(exp)) return undefined;
  return { kind: 'v2', ...(jti !== undefined && { id: jti }), ...expiry(claims) };
}

function expiry(claims: Claims | undefined): { expiresAt?: number } {
  return isTime(claims?.exp) ? { expiresAt: claims.exp * 1000 } : {};
}

/** Seconds since the epoch, of this and the next thousands of years. */
function isTime(value: unknown): value is number {
  return typeof value === 'number' && value > 0 && value < 1e11;
}

/** The library's errors quote the token, so they end here. */
function decodeJwt(token: string): Claims | undefined {
  try {
    return asClaims(jwtDecode(token));
  } catch {
    return undefined;
  }
}

function decodeBase64(text: string): Claims | undefined {
  const bytes = Buffer.from(text, 'base64');
  // Buffer skips what is not base64; a key that only decodes after skipping would not decode in Momento's SDK.
  if (bytes.toString('base64') !== text) return undefined;
  try {
    return asClaims(JSON.parse(bytes.toString()));
  } catch {
    return undefined;
  }
}

function asClaims(value: unknown): Claims | undefined {
  return typeof value === 'object' && value !== null ? value : undefined;
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== '';
}
