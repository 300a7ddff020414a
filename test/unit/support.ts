import { DAY } from '../../src/duration';
import type { Version } from '../../src/rotation/ports';
import { parseSecretName, type SecretName } from '../../src/secret-name';
import { START, VirtualClock } from '../virtual-clock';

export { DAY, HOUR, MINUTE, SECOND } from '../../src/duration';

/** The current time at the start of every test. */
export const NOW = START;

/** A clock whose time passes only while the process is idle. */
export function testClock(): VirtualClock {
  return new VirtualClock();
}

/** Returns the answers in order, and then always the last answer. If an answer is an error, the call rejects with it. */
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

/** A version. By default number 4 is five days old, and each lower number is a day older. */
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

/** Returns the error that a function throws. */
export function thrownBy(action: () => unknown): unknown {
  try {
    action();
  } catch (thrown) {
    return thrown;
  }
  throw new Error('nothing was thrown');
}
