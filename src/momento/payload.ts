/** What the forms of a payload have in common. */
import { RotationError } from '../errors';
import type { Fields } from './json';

/** A payload in one of the forms. It holds secrets: only a Credential keeps one, where nothing prints it. */
export interface Payload {
  readonly apiKey: string;
  readonly refreshToken: string | undefined;
  readonly told: Told;
  /**
   * The same payload with what was issued in it.
   *
   * @throws RotationError PAYLOAD_INVALID if what was issued cannot be written in this form
   */
  renewed(issued: Issued): Payload;
  serialize(): Buffer;
  /** The error for a payload that does not say when its key expires, where it has to. */
  noExpiry(): RotationError;
}

/** What a payload says about its key, beside the key's own claims. Times are in milliseconds since the epoch. */
export interface Told {
  readonly keyId?: string | undefined;
  readonly role?: string | undefined;
  readonly issuedAt?: number | undefined;
  readonly expiresAt?: number | undefined;
  /** The host that readers use the key with. */
  readonly endpoint?: string | undefined;
}

/** What Momento gives for an old credential. */
export interface Issued {
  readonly apiKey: string;
  /** A minted key has none. */
  readonly refreshToken?: string;
  /** Milliseconds since the epoch. */
  readonly expiresAt: number;
  readonly endpoint?: string;
  /** What Momento's HTTP API says of the key, as it says it. */
  readonly keyInfo?: Fields;
}

/** PAYLOAD_INVALID, with the problem alone for those who say it in another way. */
export class InvalidPayload extends RotationError {
  constructor(readonly problem: string) {
    super(
      'PAYLOAD_INVALID',
      `The payload of this secret is not a Momento credential: ${problem}. Nothing was changed; readers get this payload. ` +
        "Store the JSON that the Momento console downloads, or that Momento's API answers, or a bare key, as it is, as a " +
        "new version (README, 'The secret').",
    );
  }
}

export function invalid(problem: string): InvalidPayload {
  return new InvalidPayload(problem);
}

/** The key, from the fields that may hold it: the white space of a key that was stored with `echo` is no part of it. */
export function keyFrom(fields: Fields, names: readonly string[]): string {
  const named = names.map((name) => `'${name}'`).join(' and ');
  const [value, ...others] = new Set(names.map((name) => fields[name]));
  if (others.length > 0) throw invalid(`it has ${named} with different values; keep one of them`);
  if (typeof value !== 'string') throw invalid(`${named} is not a string`);
  if (value.trim() === '') throw invalid(`${named} is empty`);
  return value.trim();
}

export function refreshTokenFrom(fields: Fields, name: string): string | undefined {
  const value = fields[name] ?? '';
  if (typeof value !== 'string') throw invalid(`'${name}' is not a string`);
  return value.trim() === '' ? undefined : value.trim();
}

/** The console's JSON names the host, or the REST service there. */
export function endpointFrom({ endpoint, restEndpoint }: Fields): string | undefined {
  const host = typeof endpoint === 'string' ? endpoint : '';
  if (/^[a-z0-9.-]+$/i.test(host)) return host;
  const url = typeof restEndpoint === 'string' ? restEndpoint : '';
  return /^https:\/\/api\.cache\.([a-z0-9.-]+)\/?$/i.exec(url)?.[1];
}
