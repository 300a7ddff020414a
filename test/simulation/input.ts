/** Generated payloads, environments and requests. Every answer must be clear, and must not quote the input. */
import { isDeepStrictEqual, inspect } from 'node:util';
import fc from 'fast-check';
import { parseConfig } from '../../src/config/config';
import { DAY } from '../../src/duration';
import { RotationError, type ErrorCode } from '../../src/errors';
import { Credential } from '../../src/momento/credential';
import { FunctionProcess } from '../function-process';
import { leaks } from '../leaks';
import { testCase, type Case, type Group } from './simulation';

/** The same input in every simulation. */
const SEED = 20_261_123;

/** Text that is so random that no message contains a piece of it by chance. */
const marker = fc
  .uint8Array({ minLength: 18, maxLength: 18 })
  .map((bytes) => Buffer.from(bytes).toString('base64url'));

const jwt = (claims: object, secret: string): string => {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  return `${part({ alg: 'HS256' })}.${part(claims)}.${secret}`;
};

/** Keys in Momento's formats, and invalid variants. */
const apiKey = marker.chain((secret) => {
  const v1 = Buffer.from(JSON.stringify({ endpoint: 'cell.example', api_key: secret })).toString(
    'base64',
  );
  return fc.oneof(
    { weight: 6, arbitrary: fc.constant(v1) },
    {
      weight: 2,
      arbitrary: fc.constant(jwt({ cp: 'control.x', c: 'cache.x', s: secret }, secret)),
    },
    fc.constant(jwt({ t: 'g', s: secret }, secret)),
    fc.constant(`${v1}\n`),
    fc.constant(v1.slice(0, -5)),
    fc.constant(secret),
    fc.constant(''),
    fc.jsonValue(),
  );
});

const validUntil = fc.oneof(
  { weight: 4, arbitrary: fc.integer({ min: 1_700_000_000, max: 2_000_000_000 }) },
  { weight: 2, arbitrary: fc.integer({ min: 1_700_000_000, max: 2_000_000_000 }).map(String) },
  {
    weight: 2,
    arbitrary: fc.integer({ min: 1_700_000_000, max: 2_000_000_000 }).map((s) => s * 1000),
  },
  fc.double(),
  fc.jsonValue(),
);

const fields = fc
  .tuple(
    fc.constantFrom('apiKey', 'authToken', 'apiToken', 'apikey'),
    apiKey,
    fc.oneof({ weight: 4, arbitrary: marker }, fc.jsonValue()),
    validUntil,
    fc.dictionary(
      fc.oneof(
        fc.string(),
        fc.constantFrom('endpoint', 'restEndpoint', '__proto__', 'constructor'),
      ),
      fc.jsonValue(),
      { maxKeys: 4 },
    ),
    fc.subarray(['key', 'refreshToken', 'validUntil'], { minLength: 2 }),
  )
  .map(([name, key, refreshToken, expiry, others, present]) => {
    const entries: [string, unknown][] = [
      ...Object.entries(others),
      ...(present.includes('key') ? [[name, key] as [string, unknown]] : []),
      ...(present.includes('refreshToken')
        ? [['refreshToken', refreshToken] as [string, unknown]]
        : []),
      ...(present.includes('validUntil') ? [['validUntil', expiry] as [string, unknown]] : []),
    ];
    // In an object literal, `__proto__` would set the prototype and not a field.
    return `{${entries.map(([field, value]) => `${JSON.stringify(field)}:${JSON.stringify(value ?? null)}`).join(',')}}`;
  });

/** Numbers that JavaScript would write in another way. */
const oddNumber = fc.constantFrom('1e2', '-0', '1.50', '12345678901234567890', '1E400', '0.1e-7');

const payload = fc.oneof(
  { weight: 6, arbitrary: fields.map((text) => Buffer.from(text)) },
  {
    weight: 2,
    arbitrary: fc
      .tuple(fields, oddNumber)
      .map(([text, number]) => Buffer.from(`${text.slice(0, -1)},"odd": [ ${number} ]}`)),
  },
  {
    weight: 2,
    arbitrary: fc.tuple(fields, fc.nat(), fc.nat({ max: 255 })).map(([text, at, byte]) => {
      const bytes = Buffer.from(text);
      bytes[at % bytes.length] = byte;
      return bytes;
    }),
  },
  fc.tuple(fields, fc.nat()).map(([text, at]) => Buffer.from(text.slice(0, at % text.length))),
  fc.json().map((text) => Buffer.from(text)),
  fc.uint8Array({ maxLength: 64 }).map((bytes) => Buffer.from(bytes)),
  fc.constantFrom(60, 64, 70).map((kib) => Buffer.from(`{"a":"${'a'.repeat(kib * 1024)}"}`)),
);

const NEW_KEY = Buffer.from('{"endpoint":"cell.example","api_key":"new"}').toString('base64');

function checkPayload(bytes: Buffer): void {
  const secrets = [...bytes.toString().matchAll(/[\w-]{24,}/g)].map(([text]) => text);
  const credential = parsed('PAYLOAD_INVALID', secrets, () => Credential.parse(bytes));
  if (credential === undefined) return;
  quotesNothing(secrets, [JSON.stringify({ credential }), inspect(credential)]);
  const original = asWritten(bytes);
  same('the payload', asWritten(credential.serialize()), original);
  if (credential.expiresAt === Infinity) return;
  const renewal = { apiKey: NEW_KEY, refreshToken: 'new', endpoint: 'new', expiresAt: 2e12 };
  const renewed = asWritten(credential.renewed(renewal).serialize());
  const changed = ['apiKey', 'authToken', 'apiToken', 'refreshToken', 'validUntil', 'endpoint'];
  const others = (map: Map<string, unknown>) =>
    [...map].filter(([name]) => !changed.includes(name));
  same('a field of another name', others(renewed), others(original));
  same(
    'the type of validUntil',
    typeof renewed.get('validUntil'),
    typeof original.get('validUntil'),
  );
}

/** All fields of a JSON object, including `__proto__`, with numbers as they are written. */
function asWritten(bytes: Buffer): Map<string, unknown> {
  const value = JSON.parse(bytes.toString(), (_key, inner: unknown, { source }) =>
    typeof inner === 'number' ? `number ${source}` : inner,
  );
  return new Map(Object.entries(value as Record<string, unknown>));
}

function quotesNothing(secrets: readonly string[], texts: readonly string[]): void {
  const [leak] = leaks(secrets, texts);
  if (leak !== undefined) throw new Error(`something is quoted: ${leak}`);
}

function same(what: string, actual: unknown, expected: unknown): void {
  if (!isDeepStrictEqual(actual, expected)) throw new Error(`${what} is not as it was`);
}

/** The result of a parser; undefined if it throws an error with this code that quotes nothing. */
function parsed<T>(code: ErrorCode, secrets: readonly string[], parse: () => T): T | undefined {
  try {
    return parse();
  } catch (thrown) {
    if (!(thrown instanceof RotationError) || thrown.code !== code) {
      throw new Error('an unexpected error was thrown', { cause: thrown });
    }
    quotesNothing(secrets, [thrown.message, String(thrown.stack), inspect(thrown)]);
    return undefined;
  }
}

const setting = fc.oneof(
  fc.constantFrom(undefined, '', '0', '36h', '540s', 'true', '66%', '-1s', '100%', 'TRUE'),
  fc.constantFrom('projects/p/secrets/s', 'localhost:8085', 'evil.example:80', '[::1]:443'),
  marker,
  fc.string(),
);

const environment = fc.dictionary(
  fc.constantFrom(
    'SECRETS',
    'RENEW_BEFORE',
    'GRACE_PERIOD',
    'DESTROY_AFTER',
    'VERIFY',
    'TIMEOUT',
    'SECRET_MANAGER_EMULATOR_HOST',
    'MOMENTO_EMULATOR_HOST',
  ),
  setting,
);

/** Throws if an invalid environment causes an unclear error. Unit tests check which values are valid. */
function checkEnvironment(env: Readonly<Record<string, string | undefined>>): void {
  const markers = Object.values(env).filter((text) => /^[\w-]{24}$/.test(text ?? ''));
  parsed('CONFIGURATION_INVALID', markers as string[], () => parseConfig(env));
}

const named = (secret: string) =>
  fc.oneof(
    { weight: 6, arbitrary: fc.constantFrom('s', secret) },
    fc.constantFrom('x', '', 'projects/p/secrets/x', '../s', 'S'),
    marker,
    fc.jsonValue(),
  );

const jsonBody = (secret: string) =>
  fc
    .record(
      {
        secrets: fc.oneof(
          { weight: 6, arbitrary: fc.array(named(secret), { maxLength: 4 }) },
          fc.jsonValue(),
        ),
        force: fc.oneof({ weight: 6, arbitrary: fc.boolean() }, fc.jsonValue()),
        dryRun: fc.oneof({ weight: 6, arbitrary: fc.boolean() }, fc.jsonValue()),
        extra: fc.oneof(fc.jsonValue(), marker),
      },
      { requiredKeys: [] },
    )
    .chain(({ extra, ...body }) =>
      fc
        .nat({ max: 4 })
        .map((n) =>
          n === 0 && extra !== undefined ? { ...body, [`${String(n)}x`]: extra } : body,
        ),
    );

const body = (secret: string) =>
  fc.oneof(
    { weight: 8, arbitrary: jsonBody(secret).map((value) => Buffer.from(JSON.stringify(value))) },
    fc.constant(Buffer.alloc(0)),
    fc.json().map((text) => Buffer.from(text)),
    fc.uint8Array({ maxLength: 64 }).map((bytes) => Buffer.from(bytes)),
    fc.tuple(jsonBody(secret), fc.nat()).map(([value, at]) => {
      const text = JSON.stringify(value);
      return Buffer.from(text.slice(0, at % text.length));
    }),
    fc.constantFrom(16, 17).map((kib) => Buffer.from(`{"dryRun":true}${' '.repeat(kib * 1024)}`)),
  );

const request = (secret: string) =>
  fc.record({
    method: fc.oneof(
      { weight: 12, arbitrary: fc.constant('POST') },
      fc.constantFrom('GET', 'PUT', 'HEAD'),
    ),
    path: fc.oneof({ weight: 12, arbitrary: fc.constant('/') }, fc.constantFrom('/x', '/a/b')),
    body: body(secret),
  });

/** The acceptable statuses of a request, without the function's code. No key is due, and forced runs rotate. */
function expectedStatus(
  { method, path, body: sent }: { method: string; path: string; body: Buffer },
  secret: string,
): number[] {
  if (path !== '/') return [404];
  if (method === 'GET') return [200];
  if (method !== 'POST') return [405];
  if (sent.length > 16 * 1024) return [400, 404];
  if (sent.length === 0) return [200];
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(sent));
  } catch {
    return [400];
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return [400];
  const { secrets, force = false, dryRun = false, ...unknown } = value as Record<string, unknown>;
  if (Object.keys(unknown).length > 0) return [400];
  if (typeof force !== 'boolean' || typeof dryRun !== 'boolean') return [400];
  if (secrets === undefined) return [200];
  if (!Array.isArray(secrets) || secrets.length === 0) return [400];
  if (!secrets.every((name) => typeof name === 'string')) return [400, 404];
  if (!secrets.every((name) => name === secret || name === 's')) return [404];
  return [200];
}

function property<T>(
  name: string,
  count: number,
  arbitrary: fc.Arbitrary<T>,
  check: (value: T) => void,
): Case {
  return {
    name,
    count: () => count,
    run: () => {
      const checked = fc.check(fc.property(arbitrary, check), { numRuns: count, seed: SEED });
      if (!checked.failed) return Promise.resolve([]);
      const why = inspect(checked.errorInstance);
      return Promise.resolve([`${why}: ${inspect(checked.counterexample, { depth: 5 })}`]);
    },
  };
}

/** Sends generated requests to the function as it is deployed. No key is due. */
function requests(count: number): Case {
  return {
    ...testCase('requests', { lifeLeftMs: 30 * DAY }, async (bed) => {
      const process = await FunctionProcess.start({ env: { ...bed.env, RENEW_BEFORE: '1m' } });
      const violations: string[] = [];
      const texts: string[] = [];
      try {
        for (const sent of fc.sample(request(bed.secret.name), { numRuns: count, seed: SEED })) {
          const { method, path, body: bytes } = sent;
          const hasBody = method !== 'GET' && method !== 'HEAD';
          const reply = await process.request({
            path,
            method,
            signal: AbortSignal.timeout(10_000),
            headers: { 'content-type': 'application/json' },
            ...(hasBody && { body: new Uint8Array(bytes) }),
          });
          const expected = expectedStatus(sent, bed.secret.name);
          if (!expected.includes(reply.status)) {
            violations.push(
              `${reply.status} instead of ${expected.join()} for ${method} ${path} ${bytes.toString()}`,
            );
          }
          texts.push(...(bytes.toString().match(/[\w-]{24,}/g) ?? []));
        }
        const quoted = texts.filter((text) => !/^a+$/.test(text));
        violations.push(...leaks(quoted, [process.output]));
        bed.invariants.ends(
          { status: 200, outcome: 'over', code: undefined, written: [process.output] },
          0,
        );
      } finally {
        await process.stop();
      }
      return violations;
    }),
    count: () => count,
  };
}

export const input: Group = {
  name: 'input',
  title: 'generated payloads, environments and requests',
  concurrency: 1,
  cases: (extent) => {
    const [payloads, environments, sent] =
      extent === 'full' ? [20_000, 10_000, 4000] : [400, 300, 50];
    return [
      property('payloads', payloads, payload, checkPayload),
      property('environments', environments, environment, checkEnvironment),
      requests(sent),
    ];
  },
};
