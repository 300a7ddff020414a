import { DAY } from '../../src/duration';
import type { Version } from '../../src/rotation/ports';
import { parseSecretName, type SecretName } from '../../src/secret-name';
import { START, VirtualClock } from '../virtual-clock';

export { DAY, HOUR, MINUTE, SECOND } from '../../src/duration';

/** The present of every test. */
export const NOW = START;

/** A clock whose time passes when everybody waits for it. */
export function testClock(): VirtualClock {
  return new VirtualClock();
}

/** Gives one answer after the other, and the last one for ever; an error is what the call rejects with. */
export function inTurn<T>(...answers: (T | Error)[]): () => Promise<T> {
  const remaining = [...answers];
  return () => {
    const answer = remaining.length > 1 ? remaining.shift() : remaining[0];
    return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer as T);
  };
}

export function secretName(name: string): SecretName {
  const secret = parseSecretName(name);
  if (secret === undefined) throw new Error(`${name} is not a secret's name`);
  return secret;
}

/** A version that was created some days ago: number 4 five days ago, the ones before it a day apart. */
export function version(
  number: number,
  state: Version['state'] = 'ENABLED',
  createdAt = NOW - (9 - number) * DAY,
): Version {
  return { number, state, createdAt, etag: `etag-${number}` };
}

export function v1Key(secret: string, endpoint = 'cell-1.example.com'): string {
  return Buffer.from(JSON.stringify({ endpoint, api_key: secret })).toString('base64');
}

export function jwt(claims: unknown): string {
  const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
  return `${part({ alg: 'HS256' })}.${part(claims)}.c2lnbmF0dXJl`;
}

/** The pieces of a secret, longer than six characters, that a text contains. */
export function piecesIn(text: string, secret: string): string[] {
  return Array.from({ length: Math.max(0, secret.length - 6) }, (_, start) =>
    secret.slice(start, start + 7),
  ).filter((piece) => text.includes(piece));
}

/** What a function throws. */
export function thrownBy(action: () => unknown): unknown {
  try {
    action();
  } catch (thrown) {
    return thrown;
  }
  throw new Error('nothing was thrown');
}
