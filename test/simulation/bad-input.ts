/** Nonsense at volume: payloads, environments, requests. Whatever comes, the answer is a clear one, and quotes nothing. */
import { isDeepStrictEqual, inspect } from 'node:util';
import fc from 'fast-check';
import { parseConfig } from '../../src/config/config';
import { Credential } from '../../src/momento/credential';
import { MomentoKeys } from '../../src/momento/issuer';
import { permissionMissing } from '../../src/secret-manager/errors';
import { RotationError } from '../../src/errors';
import { createHandler, type Handler } from '../../src/http/handler';
import type { KeySource, SecretStore } from '../../src/rotation/ports';
import { Rotator } from '../../src/rotation/rotator';
import { FunctionProcess } from '../function-process';
import { leaks } from '../leaks';
import { scene, type Case, type Group } from './campaign';
import { call, DAY, secretName } from './stage';

/** A run of the campaign tries the same as the one before. */
const SEED = 20_261_123;

/** What may not be quoted: random enough that no message holds a piece of it by chance. */
const marker = fc
  .uint8Array({ minLength: 18, maxLength: 18 })
  .map((bytes) => Buffer.from(bytes).toString('base64url'));

const jwt = (claims: object, secret: string): string => {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  return `${part({ alg: 'HS256' })}.${part(claims)}.${secret}`;
};

/** Keys as Momento makes them, or nearly. */
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
    // Not a literal: a field of the name __proto__ is a field like others.
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

function judgePayload(bytes: Buffer): void {
  const secrets = [...bytes.toString().matchAll(/[\w-]{24,}/g)].map(([text]) => text);
  let credential: Credential;
  try {
    credential = Credential.parse(bytes);
  } catch (thrown) {
    if (!(thrown instanceof RotationError) || thrown.code !== 'PAYLOAD_INVALID') {
      throw new Error(`a ${thrown instanceof Error ? thrown.name : typeof thrown} was thrown`, {
        cause: thrown,
      });
    }
    quotesNothing(secrets, [thrown.message, String(thrown.stack), inspect(thrown)]);
    return;
  }
  quotesNothing(secrets, [JSON.stringify({ credential }), inspect(credential)]);
  const original = asWritten(bytes);
  same('what is written back', asWritten(credential.serialize()), original);
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

/** A JSON object with every number as it is written, and every field, whatever its name. */
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

const VARIABLES = [
  'SECRETS',
  'RENEW_BEFORE',
  'GRACE_PERIOD',
  'DESTROY_AFTER',
  'VERIFY',
  'TIMEOUT',
  'SECRET_MANAGER_EMULATOR_HOST',
  'MOMENTO_EMULATOR_HOST',
] as const;

const NAME = /^projects\/[a-z0-9.:-]+(\/locations\/[a-z0-9-]+)?\/secrets\/[\w-]{1,255}$/;
const DURATION = /^(0|\d{1,6}[smhd])$/;
/** What each variable may be; the judge's own reading of the contract. */
const ALLOWED: Readonly<Record<(typeof VARIABLES)[number], (text: string) => boolean>> = {
  SECRETS: (text) => {
    const names = text.split(',').map((name) => name.trim());
    return (
      names.every((name) => name === '' || NAME.test(name)) && names.some((name) => name !== '')
    );
  },
  RENEW_BEFORE: (text) => /^[1-9]\d?%$/.test(text) || DURATION.test(text),
  GRACE_PERIOD: (text) => DURATION.test(text),
  DESTROY_AFTER: (text) => DURATION.test(text),
  VERIFY: (text) => text === 'true' || text === 'false',
  TIMEOUT: (text) => DURATION.test(text),
  SECRET_MANAGER_EMULATOR_HOST: isLoopback,
  MOMENTO_EMULATOR_HOST: isLoopback,
};

function isLoopback(text: string): boolean {
  return /^(localhost|127(\.\d{1,3}){3}|\[::1\]):\d{1,5}$/.test(text);
}

const setting = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.constantFrom(undefined, '', '0', '36h', '14d', '540s', 'true', 'false', '66%'),
  },
  {
    weight: 4,
    arbitrary: fc.constantFrom(
      'projects/p/secrets/s',
      'projects/p/secrets/s, projects/q/locations/l/secrets/t',
      'localhost:8085',
      '127.0.0.1:1',
      '[::1]:443',
    ),
  },
  fc.constantFrom(
    '-1s',
    '1.5h',
    '100%',
    '0%',
    '99999999d',
    'TRUE',
    '1',
    'evil.example:80',
    'localhost',
    '127.0.0.1.evil.example:80',
  ),
  marker,
  fc.string(),
);

const environment = fc.record(
  {
    ...Object.fromEntries(VARIABLES.map((name) => [name, setting])),
    SECRETS: fc.oneof({ weight: 3, arbitrary: fc.constant('projects/p/secrets/s') }, setting),
  },
  { requiredKeys: [] },
) as fc.Arbitrary<Record<string, string | undefined>>;

function judgeEnvironment(env: Readonly<Record<string, string | undefined>>): void {
  const texts = Object.values(env).map((text) => text ?? '');
  let isAccepted = false;
  try {
    parseConfig(env);
    isAccepted = true;
  } catch (thrown) {
    if (!(thrown instanceof RotationError) || thrown.code !== 'CONFIGURATION_INVALID') {
      throw new Error(`a ${thrown instanceof Error ? thrown.name : typeof thrown} was thrown`, {
        cause: thrown,
      });
    }
    quotesNothing(
      texts.filter((text) => /^[\w-]{24}$/.test(text)),
      [thrown.message, String(thrown.stack)],
    );
  }
  const isNonsense = VARIABLES.some((name) => {
    const text = env[name]?.trim() ?? '';
    return text === '' ? name === 'SECRETS' : !ALLOWED[name](text);
  });
  if (isAccepted && isNonsense) throw new Error('nonsense is accepted');
}

const SECRETS = [
  'projects/p/secrets/s',
  'projects/q/secrets/t',
  'projects/q/locations/l/secrets/u',
];

/** A rotator for which nothing is due, so that every valid request is answered with 200. */
function quietHandler(): { handler: Handler; log: unknown[] } {
  const now = Date.now();
  const key = {
    apiKey: Buffer.from('{"endpoint":"cell.example","api_key":"k"}').toString('base64'),
    refreshToken: 'r',
    validUntil: Math.floor(now / 1000) + 30 * 24 * 3600,
  };
  const fail = (): never => {
    throw new Error('nothing is to be changed');
  };
  const never = () => Promise.reject(new Error('nothing is to be changed'));
  const payload = Buffer.from(JSON.stringify(key));
  const store: SecretStore = {
    access: (_, version) =>
      Promise.resolve(version === 2 ? { kind: 'absent' } : { kind: 'payload', number: 1, payload }),
    get: () => Promise.resolve(undefined),
    list: () =>
      Promise.resolve({ versions: [{ number: 1, state: 'ENABLED', createdAt: now - 5 * DAY }] }),
    permissionMissing,
    missingPermissions: () => Promise.resolve([]),
    add: never,
    disable: never,
    destroy: never,
  };
  const policy = {
    gracePeriodMs: 0,
    renewBefore: { minimumMs: DAY },
    verify: true,
    revoke: false,
  };
  const clock = {
    now: () => now,
    monotonic: () => now,
    sleep: () => new Promise<never>(() => undefined),
  };
  const momento = new MomentoKeys({ clock });
  const accepted = () => Promise.resolve({ verdict: 'accepted' } as const);
  const keys: KeySource = {
    vendor: momento.vendor,
    remedy: momento.remedy,
    parse: (bytes) => momento.parse(bytes),
    open: () => ({
      prepare: () => undefined,
      nextKey: () =>
        Promise.resolve({
          by: 'refresh',
          maxUnknownOutcomes: 0,
          issue: never,
          refusal: fail,
        } as const),
      verifyNew: never,
      verifyNewest: accepted,
      verifyRejected: accepted,
      listedState: never,
      ownKeys: never,
      revoke: never,
      close: () => undefined,
    }),
  };
  const secrets = SECRETS.map((name) => ({ ...secretName(name), payload: 'json' as const }));
  const rotator = new Rotator({ secrets, store, keys, policy, clock });
  const log: unknown[] = [];
  return {
    handler: createHandler({
      rotator,
      timeoutMs: 540_000,
      traceProject: 'p',
      clock,
      log: (entry) => log.push(entry),
    }),
    log,
  };
}

const named = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom('s', 't', 'u', ...SECRETS) },
  fc.constantFrom('x', '', 'projects/p/secrets/x', '../s', 'S'),
  marker,
  fc.jsonValue(),
);

const jsonBody = fc
  .record(
    {
      secrets: fc.oneof(
        { weight: 6, arbitrary: fc.array(named, { maxLength: 4 }) },
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
      .map((n) => (n === 0 && extra !== undefined ? { ...body, [`${String(n)}x`]: extra } : body)),
  );

const body = fc.oneof(
  { weight: 8, arbitrary: jsonBody.map((value) => Buffer.from(JSON.stringify(value))) },
  fc.constant(Buffer.alloc(0)),
  fc.json().map((text) => Buffer.from(text)),
  fc.uint8Array({ maxLength: 64 }).map((bytes) => Buffer.from(bytes)),
  fc.tuple(jsonBody, fc.nat()).map(([value, at]) => {
    const text = JSON.stringify(value);
    return Buffer.from(text.slice(0, at % text.length));
  }),
  fc.constantFrom(16, 17).map((kib) => Buffer.from(`{"dryRun":true}${' '.repeat(kib * 1024)}`)),
);

const header = fc.oneof(
  { weight: 6, arbitrary: fc.constant(undefined) },
  fc
    .date({ noInvalidDate: true, min: new Date('2000-01-01'), max: new Date('2099-01-01') })
    .map((date) => date.toISOString()),
  fc.constantFrom(
    '2026-11-01T00:00:00+01:00',
    ' ',
    'yesterday',
    '2026-13-01T00:00:00Z',
    '0',
    '2026-11-01',
  ),
  marker,
  fc.string(),
);

const request = fc.record({
  method: fc.oneof(
    { weight: 12, arbitrary: fc.constant('POST') },
    fc.constantFrom('GET', 'PUT', 'HEAD'),
  ),
  path: fc.oneof(
    { weight: 12, arbitrary: fc.constant('/') },
    fc.constantFrom('/x', '/a/b', '/robots.txt'),
  ),
  body,
  'x-cloudscheduler-scheduletime': header,
  'x-cloud-trace-context': fc.oneof(header, fc.constant('0123456789abcdef0123456789abcdef/1;o=1')),
  traceparent: header,
});

type AnyRequest = typeof request extends fc.Arbitrary<infer T> ? T : never;

/** What the request has to be answered with, by the judge's own reading of the contract. */
function expectedStatus({ method, path, body: sent, ...headers }: AnyRequest): number[] {
  if (path !== '/') return [404];
  if (method === 'GET') return [200];
  if (method !== 'POST') return [405];
  const time = headers['x-cloudscheduler-scheduletime']?.trim() ?? '';
  const isTime = time === '' || (time.includes('T') && !Number.isNaN(Date.parse(time)));
  if (!isTime || sent.length > 16 * 1024) return [400, 404];
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
  if (secrets === undefined) return force && !dryRun ? [200, 500] : [200];
  if (!Array.isArray(secrets) || secrets.length === 0) return [400];
  const known = [...SECRETS, 's', 't', 'u'];
  if (!secrets.every((name) => typeof name === 'string')) return [400, 404];
  if (!secrets.every((name) => known.includes(name))) return [404];
  return force && !dryRun ? [200, 500] : [200];
}

async function judgeRequest(
  { handler, log }: ReturnType<typeof quietHandler>,
  sent: AnyRequest,
): Promise<void> {
  log.length = 0;
  const reply = await call(handler, { ...sent, headers: headersOf(sent) });
  const expected = expectedStatus(sent);
  // A forced run fails here, because nothing can be issued, unless its scheduled time is long past.
  const status = reply.status >= 500 ? 500 : reply.status;
  if (!expected.includes(status))
    throw new Error(`answered with ${status}, not ${expected.join()}`);
  const texts = [...Object.values(headersOf(sent)), sent.body.toString()];
  const secrets = texts.flatMap((text) => text.match(/[\w-]{24,}/g) ?? []);
  const harmless = /^(0123456789abcdef0123456789abcdef|a+)$/;
  quotesNothing(
    secrets.filter((text) => !harmless.test(text)),
    [JSON.stringify(reply.body), JSON.stringify(log)],
  );
}

function headersOf(sent: AnyRequest): Record<string, string> {
  return Object.fromEntries(
    Object.entries(sent).filter(
      (entry): entry is [string, string] =>
        !['method', 'path', 'body'].includes(entry[0]) && entry[1] !== undefined,
    ),
  );
}

function property<T>(
  name: string,
  count: number,
  seed: number,
  arbitrary: fc.Arbitrary<T>,
  makeJudge: () => (value: T) => void | Promise<void>,
): Case {
  return {
    name,
    tries: () => count,
    play: async () => {
      const judge = makeJudge();
      const checked = await fc.check(
        fc.asyncProperty(arbitrary, async (value) => judge(value)),
        {
          numRuns: count,
          seed: SEED + seed,
          endOnFailure: false,
          interruptAfterTimeLimit: 150_000,
          markInterruptAsFailure: true,
        },
      );
      if (!checked.failed) return [];
      const why = inspect(checked.errorInstance);
      return [`${why}: ${inspect(checked.counterexample, { depth: 5 })} (seed ${checked.seed})`];
    },
  };
}

/** The same requests to the function as it is deployed. */
function overHttp(count: number): Case {
  return {
    ...scene('requests to the real process', {}, async (played) => {
      const { momento, secretManager, secret } = played;
      const process = await FunctionProcess.start({
        env: {
          SECRETS: secret.name,
          RENEW_BEFORE: '1m',
          SECRET_MANAGER_EMULATOR_HOST: secretManager.host,
          MOMENTO_EMULATOR_HOST: momento.host,
        },
      });
      const violations: string[] = [];
      try {
        for (const { method, path, body: sent } of fc.sample(request, {
          numRuns: count,
          seed: SEED,
        })) {
          const hasBody = method !== 'GET' && method !== 'HEAD';
          const reply = await process.request({
            path,
            method,
            signal: AbortSignal.timeout(10_000),
            headers: { 'content-type': 'application/json' },
            ...(hasBody && { body: new Uint8Array(sent) }),
          });
          const isValid = reply.status === 200;
          const mayBe = expectedStatus({
            method,
            path,
            body: sent,
            traceparent: undefined,
            'x-cloud-trace-context': undefined,
            'x-cloudscheduler-scheduletime': undefined,
          }).some((status) => status === 200 || status === 500);
          // Of the names only `s` would be this process's own.
          if (isValid && !mayBe) violations.push(`200 for ${method} ${path} ${sent.toString()}`);
        }
        const alive = await process.request({ method: 'GET' });
        if (alive.status !== 200)
          violations.push(`afterwards GET is answered with ${alive.status}`);
        played.invariants.ends(
          { status: 200, outcome: 'over', code: undefined, written: [process.output] },
          0,
        );
      } finally {
        await process.stop();
      }
      return violations;
    }),
    tries: () => count,
  };
}

export const badInput: Group = {
  name: 'input',
  title: 'payloads, environments, requests: property-based',
  concurrency: 1,
  cases: (extent) => {
    const chunks = extent === 'full' ? 8 : 1;
    const [payloads, environments, requests, overTheWire] =
      extent === 'full' ? [5000, 3000, 4000, 4000] : [400, 300, 300, 50];
    return Array.from({ length: chunks }, (_, chunk) => [
      property(`payloads ${chunk}`, payloads, chunk, payload, () => judgePayload),
      property(`environments ${chunk}`, environments, chunk, environment, () => judgeEnvironment),
      property(`requests ${chunk}`, requests, chunk, request, () => {
        const quiet = quietHandler();
        return (sent) => judgeRequest(quiet, sent);
      }),
    ])
      .flat()
      .concat(overHttp(overTheWire));
  },
};
