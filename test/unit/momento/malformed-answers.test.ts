/**
 * Generated answers of Momento: fields that are missing, additional, duplicate or of a wrong type, wrong encodings, endless
 * lists. Whatever arrives, no answer is an internal error, no usable key is lost, and no error or warning contains a secret.
 */
import { brotliCompressSync, deflateRawSync, deflateSync, gzipSync } from 'node:zlib';
import { ExpiresAt } from '@gomomento/sdk';
import fc from 'fast-check';
import { systemClock } from '../../../src/clock';
import { RotationError } from '../../../src/errors';
import { readKey, trimKey } from '../../../src/momento/api-key';
import { Credential } from '../../../src/momento/credential';
import { KeyApi, type KeyList } from '../../../src/momento/key-api';
import { mint } from '../../../src/momento/mint';
import { acceptV1, acceptV2 } from '../../../src/momento/refresh';
import type { IssuedKey, NextKey } from '../../../src/rotation/ports';
import { DAY, jwt, NOW, piecesIn, secretName, v1Key } from '../support';
import { http, RawServer } from './http-server';
import {
  inSeconds,
  keyInfo,
  limits,
  parse,
  SECRET,
  unlimited,
  v2Key,
  v2RefreshToken,
} from './support';

const LIFETIME = 10 * DAY;
const KEY = v2Key('key-2', NOW + LIFETIME);
const V2 = {
  api_key: v2Key('key-1', NOW + DAY),
  refresh_token: v2RefreshToken('key-1'),
  key_info: keyInfo(),
};
const V1 = { apiKey: v1Key(SECRET), refreshToken: SECRET, validUntil: inSeconds(NOW + DAY) };

/** Anything that JSON can say, some of it with a secret inside. */
const anything = fc.oneof(
  fc.jsonValue(),
  fc.constantFrom<unknown>(
    undefined,
    null,
    '',
    ' \n',
    0,
    -1,
    NOW,
    inSeconds(NOW),
    1.5,
    true,
    [],
    {},
  ),
  fc.constantFrom<unknown>(SECRET, [SECRET], { nested: SECRET }, `${SECRET}\n${SECRET}`),
);

/** A value that is right, mostly, or anything else. */
const mostly = (...right: unknown[]): fc.Arbitrary<unknown> =>
  fc.oneof({ weight: 3, arbitrary: fc.constantFrom(...right) }, { weight: 1, arbitrary: anything });

/** The record, with up to three fields that nobody knows. */
const extended = (known: fc.Arbitrary<object>): fc.Arbitrary<object> =>
  fc
    .tuple(fc.dictionary(fc.string(), anything, { maxKeys: 3 }), known)
    .map(([more, fields]) => ({ ...more, ...fields }));

const description = fc.record({
  key_id: mostly('key-2', 'key-9'),
  role_id: mostly('r-viewer', 'r-owner'),
  description: mostly('ours', null),
  issued_at_epoch_seconds: mostly(inSeconds(NOW)),
  expires_at_epoch_seconds: mostly(inSeconds(NOW + LIFETIME), null),
});
const info = fc.oneof(
  { weight: 1, arbitrary: anything },
  { weight: 4, arbitrary: extended(description) },
);

const keys = mostly(
  ...[KEY, ` ${KEY}\n`, `\uFEFF${KEY}`, v2Key('key-2'), v2Key('key-2', NOW - 1), jwt({ t: 'g' })],
  v1Key(SECRET),
);

const answers = extended(
  fc.record({
    api_key: keys,
    refresh_token: mostly(v2RefreshToken('key-2'), v2RefreshToken('key-9'), ` ${SECRET} `),
    key_info: info,
    previous_key_id: mostly('key-1', 'key-0'),
  }),
);

/** The value after its way through JSON: a field that is undefined is missing. */
function sent(value: object): Record<string, unknown> {
  return JSON.parse(JSON.stringify(value)) as Record<string, unknown>;
}

/** The key that was issued, or the error. */
function outcome(action: () => IssuedKey): IssuedKey | RotationError {
  try {
    return action();
  } catch (thrown) {
    return checked(thrown);
  }
}

function checked(thrown: unknown): RotationError {
  expect(thrown).toBeInstanceOf(RotationError);
  const error = thrown as RotationError;
  expect(error.code).not.toBe('INTERNAL');
  expect(piecesIn(error.message, SECRET)).toEqual([]);
  return error;
}

function checkStored(issued: IssuedKey, apiKey: string): void {
  const { credential, warnings } = issued;
  expect(piecesIn(warnings.join(), SECRET)).toEqual([]);
  // The payload is one that the next run reads, with the key that was sent.
  expect(Credential.parse(credential.serialize())).toMatchObject({
    apiKey,
    expiresAt: credential.expiresAt,
  });
}

/** A v2 key that a refresh or mint can store. */
function usableKey(value: unknown): string | undefined {
  const apiKey = typeof value === 'string' ? trimKey(value) : '';
  const key = readKey(apiKey);
  return key?.kind === 'v2' && (key.expiresAt ?? Infinity) > NOW ? apiKey : undefined;
}

const CONSOLE = { apiKey: V2.api_key, refreshToken: V2.refresh_token, validUntil: V1.validUntil };

test('a refresh of a v2 key stores every usable key', () => {
  fc.assert(
    fc.property(answers, fc.constantFrom(V2, CONSOLE), (generated, payload) => {
      const answer = sent(generated);
      const result = outcome(() => acceptV2(parse(payload), answer, NOW));
      const apiKey = usableKey(answer.api_key);
      if (result instanceof RotationError) {
        expect(result).toMatchObject({ code: 'ISSUED_CREDENTIAL_INVALID', retryable: false });
        // The expiry of a key that doesn't contain one is in its description.
        expect(apiKey === undefined || result.problem.includes('already expired')).toBe(true);
      } else {
        checkStored(result, apiKey ?? 'a key that is not usable');
      }
    }),
    { numRuns: 1000 },
  );
});

test('a refresh of a v1 key stores every usable key', () => {
  const key = v1Key(SECRET);
  const texts = fc.oneof(
    fc.constantFrom(key, ` ${key}\n`, v1Key(` ${SECRET}\n`), '', SECRET, jwt({ t: 'g' })),
    fc.string(),
  );
  const times = fc.oneof(fc.constantFrom(undefined, 0, NaN, Infinity, -1, NOW), fc.integer());
  fc.assert(
    fc.property(texts, texts, texts, times, (apiKey, refreshToken, endpoint, seconds) => {
      const expiresAt = ExpiresAt.fromEpoch(seconds);
      const answer = { apiKey, refreshToken, endpoint, expiresAt };
      const result = outcome(() => acceptV1(parse(V1), answer, NOW));
      const isUsable = readKey(trimKey(apiKey)) !== undefined;
      expect(result instanceof RotationError).toBe(!isUsable);
      if (!(result instanceof RotationError)) checkStored(result, trimKey(apiKey));
    }),
    { numRuns: 1000 },
  );
});

test('a mint stores every usable key', async () => {
  await fc.assert(
    fc.asyncProperty(answers, async (generated) => {
      const answer = sent(generated);
      const account = {
        list: () => Promise.reject(new Error('not called')),
        count: () => Promise.resolve(undefined),
        mint: () => Promise.resolve(answer),
      };
      const terms = { payload: 'json', role: 'r-viewer', lifetimeMs: LIFETIME } as const;
      const secret = { ...secretName('projects/p/secrets/s'), ...terms };
      const next = mint(secret, undefined, account, () => NOW) as NextKey;
      try {
        const issued = await next.issue(limits());
        checkStored(issued, usableKey(answer.api_key) ?? 'a key that is not usable');
        expect(issued.credential.keyId).toBe('key-2');
      } catch (thrown) {
        const error = checked(thrown);
        expect(error).toMatchObject({ code: 'ISSUED_CREDENTIAL_INVALID', retryable: false });
        // A key of another role isn't the key that was requested.
        const isOther = error.problem.includes('requested role');
        expect(usableKey(answer.api_key) !== KEY || isOther).toBe(true);
      }
    }),
    { numRuns: 1000 },
  );
});

describe('over HTTP', () => {
  let server: RawServer;
  let api: KeyApi;

  beforeAll(async () => {
    server = await RawServer.start();
    api = new KeyApi({ emulator: server.host, limiter: unlimited(), clock: systemClock });
  });
  afterAll(async () => {
    api.close();
    await server.stop();
  });

  function answers(encoding: string, bytes: Buffer): void {
    const head = `HTTP/1.1 200 OK\r\ncontent-encoding: ${encoding}\r\ncontent-length: ${bytes.length}\r\n\r\n`;
    server.answers((socket) => socket.write(Buffer.concat([Buffer.from(head), bytes])));
  }

  const ENCODERS: Record<string, (body: Buffer) => Buffer> = {
    identity: (body) => body,
    gzip: (body) => gzipSync(body),
    br: (body) => brotliCompressSync(body),
    deflate: (body) => deflateSync(body),
    'deflate without its header': (body) => deflateRawSync(body),
  };

  test('decodes an answer in any encoding, or fails when it is damaged', async () => {
    const body = Buffer.from(JSON.stringify({ ...V2, api_key: KEY }));
    const damage = fc.option(fc.tuple(fc.nat(body.length), fc.nat(255)), { nil: undefined });
    const names = fc.constantFrom(...Object.keys(ENCODERS));
    await fc.assert(
      fc.asyncProperty(names, fc.boolean(), damage, fc.boolean(), async (name, mark, hit, lie) => {
        const whole = mark ? Buffer.concat([Buffer.from('\uFEFF'), body]) : body;
        const bytes = Buffer.from((ENCODERS[name] ?? ENCODERS.identity)?.(whole) ?? '');
        if (hit !== undefined) bytes[hit[0] % bytes.length] = hit[1];
        answers(lie ? 'gzip' : (name.split(' ')[0] ?? ''), bytes);
        try {
          const fields = await api.refresh(SECRET, limits());
          if (hit === undefined) expect(fields).toEqual({ ...V2, api_key: KEY });
        } catch (thrown) {
          const { code } = checked(thrown);
          expect(code).toBe('ISSUED_CREDENTIAL_INVALID');
          expect(hit !== undefined || (lie && name !== 'gzip')).toBe(true);
        }
      }),
      { numRuns: 150 },
    );
  });

  const plainEntry = fc.nat(5).map((n) => keyInfo({ key_id: `key-${n}` }));
  const entries = fc.array(fc.oneof(anything, info, plainEntry), { maxLength: 8 });

  test('lists every valid key among any entries', async () => {
    await fc.assert(
      fc.asyncProperty(entries, async (generated) => {
        server.answers(http(200, { key_info: generated }));
        const { keys, skipped }: KeyList = await api.list(SECRET, limits());
        expect(keys.size + skipped).toBeLessThanOrEqual(generated.length);
        const plain = generated.filter(
          (entry) =>
            JSON.stringify(entry) ===
            JSON.stringify(keyInfo({ key_id: (entry as { key_id?: unknown } | null)?.key_id })),
        ) as { key_id: string }[];
        for (const { key_id } of plain) expect(keys.has(key_id)).toBe(true);
      }),
      { numRuns: 150 },
    );
  });

  test('fails with MOMENTO_UNAVAILABLE when a list is invalid', async () => {
    const page = fc.oneof(
      anything,
      fc.record({ key_info: fc.oneof(entries, anything), next_token: mostly('again', '') }),
    );
    await fc.assert(
      fc.asyncProperty(page, async (generated) => {
        server.answers(http(200, generated ?? ''));
        try {
          await api.list(SECRET, limits());
        } catch (thrown) {
          expect(checked(thrown).code).toBe('MOMENTO_UNAVAILABLE');
        }
        expect(server.requests.length).toBeLessThanOrEqual(2);
      }),
      { numRuns: 150 },
    );
  });
});
