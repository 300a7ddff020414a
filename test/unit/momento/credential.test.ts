import { createHash } from 'node:crypto';
import { inspect } from 'node:util';
import { Credential } from '../../../src/momento/credential';
import { RotationError } from '../../../src/errors';
import { DAY, jwt, NOW, piecesIn, thrownBy, v1Key } from '../support';
import { inSeconds, keyInfo, parse, SECRET, v2Key, written } from './support';

const REFRESH_TOKEN = 'Yb2-planted-hMs8Vc4Kd6';
const KEY = v1Key(SECRET);
const LEGACY_KEY = jwt({ cp: 'control.example.com', c: 'cache.example.com', sub: SECRET });
const V2_KEY = jwt({ t: 'g', id: SECRET });

const RENEWAL = {
  apiKey: v1Key('another'),
  refreshToken: 'another refresh token',
  expiresAt: Date.parse('2026-12-01T00:00:00.999Z'),
  endpoint: 'cell-2.example.com',
};

function fields(changes: Record<string, unknown> = {}): Record<string, unknown> {
  return { apiKey: KEY, refreshToken: REFRESH_TOKEN, validUntil: 1796083200, ...changes };
}

describe('a payload that is not a credential', () => {
  const withoutKey = { refreshToken: REFRESH_TOKEN, validUntil: 1796083200 };
  const cases: [name: string, payload: unknown, problem: string][] = [
    ['empty', Buffer.alloc(0), 'it is empty'],
    ['not UTF-8', Buffer.concat([Buffer.from(KEY), Buffer.from([0xff])]), "it isn't UTF-8"],
    ['white space', ' \n', 'it is empty'],
    ['neither JSON nor a key', SECRET, 'it is neither JSON nor a Momento API key'],
    ['cut JSON', JSON.stringify(fields()).slice(0, -3), 'it is neither JSON nor a Momento API key'],
    ['a bare key that was cut', V2_KEY.slice(0, 30), 'it is neither JSON nor a Momento API key'],
    ['two bare keys', `${V2_KEY}\n${V2_KEY}`, 'it is neither JSON nor a Momento API key'],
    ['a string', JSON.stringify(KEY), "it is JSON, but it isn't an object"],
    ['a number', '1796083200', "it is JSON, but it isn't an object"],
    ['a large number', '12345678901234567890', "it is JSON, but it isn't an object"],
    ['null', 'null', "it is JSON, but it isn't an object"],
    ['a list', [fields()], "it is JSON, but it isn't an object"],
    [
      'too long',
      `${JSON.stringify(fields())}${' '.repeat(65536)}`,
      'bytes long, and Secret Manager stores 65536',
    ],
    [
      'too long to grow',
      fields({ note: SECRET.repeat(2900) }),
      'less than 2048 bytes for a longer key',
    ],

    ['no key', withoutKey, "it has no field 'apiKey' or 'api_key'"],
    [
      'keys of two formats',
      fields({ api_key: KEY }),
      "both 'apiKey' and 'api_key', which belong to two formats",
    ],
    ['an API key that is no string', { api_key: 7 }, "'api_key' isn't a string"],
    ['an API key that is empty', { api_key: '\n' }, "'api_key' is empty"],
    ['a token that is no string', api({ refresh_token: {} }), "'refresh_token' isn't a string"],
    [
      'a token that no header takes',
      api({ refresh_token: `${SECRET} é` }),
      "its refresh token isn't a token",
    ],
    ['key_info that is no object', api({ key_info: [SECRET] }), "'key_info' isn't an object"],
    ['key_info that is text', api({ key_info: SECRET }), "'key_info' isn't an object"],
    ['a role of two lines', info({ role_id: `r\n${SECRET}` }), "'key_info.role_id' isn't an id"],
    ['a role that is empty', info({ role_id: '' }), "'key_info.role_id' isn't an id"],
    ['an id that is a number', info({ key_id: 7 }), "'key_info.key_id' isn't an id"],
    ...['soon', 1.5, 1796083200000, -1, '1796083200', {}].flatMap(
      (time): [string, unknown, string][] => [
        [
          `an expiry of ${JSON.stringify(time)}`,
          info({ expires_at_epoch_seconds: time }),
          "'key_info.expires_at_epoch_seconds' isn't a whole number of seconds",
        ],
        [
          `issued at ${JSON.stringify(time)}`,
          info({ issued_at_epoch_seconds: time }),
          "'key_info.issued_at_epoch_seconds' isn't a whole number of seconds",
        ],
      ],
    ),
    ['a key that is no string', fields({ apiKey: { nested: SECRET } }), "'apiKey' isn't a string"],
    ['a key that is null', fields({ apiKey: null }), "'apiKey' isn't a string"],
    [
      'a large number as the key',
      '{"apiKey": 12345678901234567890, "validUntil": 1796083200}',
      "'apiKey' isn't a string",
    ],
    ['an empty key', fields({ apiKey: '' }), "'apiKey' is empty"],
    ['a blank key', { ...withoutKey, authToken: ' \n' }, "'authToken' is empty"],
    [
      'two keys that differ',
      fields({ authToken: v1Key('other') }),
      "'apiKey' and 'authToken' with different values",
    ],

    [
      'a refresh token that is no string',
      fields({ refreshToken: [SECRET] }),
      "'refreshToken' isn't",
    ],
    ['a refresh token that is a number', fields({ refreshToken: 0 }), "'refreshToken' isn't a"],

    ['a key that is no base64', fields({ apiKey: `${SECRET}!` }), "doesn't decode"],
    ['a key that was cut', fields({ apiKey: KEY.slice(0, -5) }), "doesn't decode"],
    [
      'a key with a gap',
      fields({ apiKey: `${KEY.slice(0, 8)}\n${KEY.slice(8)}` }),
      "doesn't decode",
    ],
    ['a key of other JSON', fields({ apiKey: base64({ api_key: SECRET }) }), "doesn't decode"],
    ['a key without api_key', fields({ apiKey: base64({ endpoint: SECRET }) }), "doesn't decode"],
    ['a key with an empty endpoint', fields({ apiKey: v1Key(SECRET, '') }), "doesn't decode"],
    ['a key with an empty api_key', fields({ apiKey: v1Key('') }), "doesn't decode"],
    ['a key of JSON null', fields({ apiKey: base64(null) }), "doesn't decode"],
    ['a JWT without its claims', fields({ apiKey: LEGACY_KEY.split('.')[0] }), "doesn't decode"],
    ['a JWT with one host', fields({ apiKey: jwt({ cp: 'host', sub: SECRET }) }), "doesn't decode"],
    ['a JWT with an empty host', fields({ apiKey: jwt({ cp: '', c: 'host' }) }), "doesn't decode"],
    ['a JWT of another type', fields({ apiKey: jwt({ t: 's', sub: SECRET }) }), "doesn't decode"],

    ...[
      ...[true, '', 'soon', '2026-12-01', 'Infinity', '0x6b0e5d80', '-1796083200'],
      ...[1796083200.5, '1796083200.5', -1796083200, [1796083200], { seconds: 1796083200 }],
      ...[999_999_999, 100_000_000_000, 999_999_999_999, 100_000_000_000_000, SECRET],
    ].map((validUntil): [string, unknown, string] => [
      `validUntil ${JSON.stringify(validUntil)}`,
      fields({ validUntil }),
      "'validUntil' isn't the key's expiry",
    ]),
  ];

  function api(changes: Record<string, unknown>): Record<string, unknown> {
    return { api_key: V2_KEY, refresh_token: REFRESH_TOKEN, key_info: keyInfo(), ...changes };
  }

  function info(changes: Record<string, unknown>): Record<string, unknown> {
    return api({ key_info: keyInfo(changes) });
  }

  function base64(value: unknown): string {
    return Buffer.from(JSON.stringify(value)).toString('base64');
  }

  test.each(cases)(
    'is refused with the reason and the remedy when it is %s',
    (_name, payload, problem) => {
      const error = thrownBy(() =>
        Buffer.isBuffer(payload) ? Credential.parse(payload) : parse(payload as object),
      );
      expect(error).toBeInstanceOf(RotationError);
      const { code, ...parts } = error as RotationError;
      expect(code).toBe('PAYLOAD_INVALID');
      expect(parts.problem).toContain(problem);
      expect(parts.action).toContain('Store the JSON from the Momento console');
      const everything = inspect(error, { depth: null, showHidden: true });
      for (const secret of [SECRET, REFRESH_TOKEN, KEY, LEGACY_KEY, V2_KEY]) {
        expect(piecesIn(everything, secret)).toEqual([]);
      }
    },
  );

  test('the longest one that leaves room for the next key is read', () => {
    const room = 65536 - 2048 - JSON.stringify(fields({ note: '' })).length;
    const note = (bytes: number) => fields({ note: 'é'.repeat(bytes / 2) + 'n'.repeat(bytes % 2) });
    expect(parse(note(room)).apiKey).toBe(KEY);
    expect(() => parse(note(room + 1))).toThrow('less than 2048 bytes');
  });

  test('white space counts towards 64 KiB, and does not come back', () => {
    const json = JSON.stringify(fields());
    const longest = json + ' '.repeat(65536 - json.length);
    expect(parse(longest).serialize().toString()).toBe(json);
    expect(() => parse(`${longest} `)).toThrow('it is 65537 bytes long');
  });
});

describe('a parsed payload', () => {
  test.each([
    ['v1', KEY],
    ['legacy', LEGACY_KEY],
    ['v2', V2_KEY],
    ['v2', jwt({ t: 'g', cp: 'control.example.com', c: 'cache.example.com' })],
  ])('a %s key', (kind, apiKey) => {
    expect(parse(fields({ apiKey }))).toMatchObject({ kind, apiKey });
  });

  test('key and refresh token without the white space around them', () => {
    const credential = parse(fields({ apiKey: `${KEY}\n`, refreshToken: ` ${REFRESH_TOKEN}\r\n` }));
    expect(credential.apiKey).toBe(KEY);
    expect(credential.refreshToken).toBe(REFRESH_TOKEN);
  });

  test.each([undefined, null, '', ' \n'])('refresh token %j as none', (refreshToken) => {
    expect(parse(fields({ refreshToken })).refreshToken).toBeUndefined();
  });

  test('a byte order mark is no part of the JSON', () => {
    expect(parse(`\uFEFF${JSON.stringify(fields())}`).apiKey).toBe(KEY);
  });

  test.each([
    [1796083200, 1796083200000, 1796083200],
    ['1796083200', 1796083200000, '1796083200'],
    [' 1796083200\n', 1796083200000, '1796083200'],
    [1796083200000, 1796083200000, 1796083200999],
    ['1796083200000', 1796083200000, '1796083200999'],
    [1e9, 1e12, 1796083200],
    [99_999_999_999, 99_999_999_999_000, 1796083200],
    [1e12, 1e12, 1796083200999],
    [99_999_999_999_999, 99_999_999_999_999, 1796083200999],
  ])('validUntil %j: is %d, and renewed as %j', (validUntil, expiresAt, renewed) => {
    const credential = parse(fields({ validUntil }));
    expect(credential.expiresAt).toBe(expiresAt);
    expect(written(credential.renewed(RENEWAL)).validUntil).toBe(renewed);
  });

  test.each([
    [{ apiKey: V2_KEY, validUntil: undefined }],
    [{ apiKey: V2_KEY, validUntil: null }],
    [{ refreshToken: undefined, validUntil: null }],
    [{ refreshToken: '', validUntil: 0 }],
  ])('%j as a key that never expires, for it cannot be refreshed', (changes) => {
    expect(parse(fields(changes)).expiresAt).toBe(Infinity);
  });

  test('the expiry of a key that cannot be refreshed', () => {
    expect(parse(fields({ apiKey: V2_KEY })).expiresAt).toBe(1796083200000);
    expect(() => parse(fields({ apiKey: V2_KEY, validUntil: 'soon' }))).toThrow('validUntil');
  });

  test.each([
    ['1796083200.0', 1796083200],
    ['1.796083200000E12', 1796083200999],
    ['17960832e2', 1796083200],
  ])('validUntil written as %s', (notation, renewed) => {
    const text = JSON.stringify(fields()).replace('1796083200', notation);
    const credential = parse(text);
    expect(credential.expiresAt).toBe(1796083200000);
    expect(credential.serialize().toString()).toBe(text);
    expect(written(credential.renewed(RENEWAL)).validUntil).toBe(renewed);
  });
});

describe('the three formats', () => {
  const expiresAt = NOW + 10 * DAY;
  const key = v2Key('key-1', expiresAt);

  test('a bare key', () => {
    expect(parse(`\n ${key}\r\n`)).toMatchObject({ apiKey: key, keyId: 'key-1', expiresAt });
    expect(parse(KEY)).toMatchObject({ apiKey: KEY, kind: 'v1', expiresAt: Infinity });
    expect(parse(v1Key(jwt({ exp: inSeconds(expiresAt) })))).toMatchObject({ expiresAt });
    expect(parse(key).refreshToken).toBeUndefined();
    expect(parse(key).serialize().toString()).toBe(key);
  });

  test('API JSON', () => {
    const json = { api_key: `${key}\n`, refresh_token: ' token ', key_info: keyInfo(), more: [] };
    expect(parse(json)).toMatchObject({
      apiKey: key,
      refreshToken: 'token',
      kind: 'v2',
      keyId: 'key-1',
      role: 'r-viewer',
      issuedAt: NOW,
      expiresAt,
    });
    expect(parse({ api_key: key, refresh_token: null, key_info: null })).toMatchObject({
      refreshToken: undefined,
      role: undefined,
      expiresAt,
    });
  });

  test('console JSON with a v2 key: what the key says of its expiry goes first', () => {
    expect(parse(fields({ apiKey: key, validUntil: 1999999999 }))).toMatchObject({
      keyId: 'key-1',
      expiresAt,
    });
    expect(parse(fields({ apiKey: key, validUntil: null })).expiresAt).toBe(expiresAt);
  });

  test('API JSON with a v1 key', () => {
    const json = { api_key: KEY, refresh_token: REFRESH_TOKEN, key_info: keyInfo() };
    expect(parse(json)).toMatchObject({ kind: 'v1', role: 'r-viewer', expiresAt });
    expect(parse({ api_key: KEY })).toMatchObject({ kind: 'v1', expiresAt: Infinity });
  });

  test('the time of issue only where it certainly is that of the key', () => {
    const iat = inSeconds(NOW) - 5;
    const claimed = jwt({ t: 'g', jti: 'key-1', iat, exp: inSeconds(expiresAt) });
    expect(parse(claimed).issuedAt).toBe(NOW - 5000);
    expect(parse({ api_key: claimed, key_info: keyInfo() }).issuedAt).toBe(NOW - 5000);
    expect(parse(fields({ apiKey: v1Key(jwt({ iat })) })).issuedAt).toBe(NOW - 5000);
    expect(parse({ api_key: key, key_info: keyInfo() }).issuedAt).toBe(NOW);
    expect(parse(key).issuedAt).toBeUndefined();
    // No key of an older kind has an id, so the description is that of another key.
    expect(parse({ api_key: KEY, key_info: keyInfo() }).issuedAt).toBeUndefined();
    const unnamed = keyInfo({ key_id: undefined });
    expect(parse({ api_key: key, key_info: unnamed }).issuedAt).toBeUndefined();
  });

  test('nothing that describes another key', () => {
    const credential = parse({ api_key: v2Key('key-2', expiresAt), key_info: keyInfo() });
    expect(credential.role).toBeUndefined();
    expect(credential.issuedAt).toBeUndefined();
  });

  test.each([
    [{ endpoint: 'cell-1.example.com' }, 'cell-1.example.com'],
    [{ restEndpoint: 'https://api.cache.cell-1.example.com' }, 'cell-1.example.com'],
    [{ restEndpoint: 'https://api.cache.cell-1.example.com/' }, 'cell-1.example.com'],
    [{ endpoint: 'a.example.com', restEndpoint: 'https://api.cache.b.com' }, 'a.example.com'],
    [{ endpoint: 'https://a.example.com', restEndpoint: 'https://api.cache.b.com' }, 'b.com'],
    [{ endpoint: '', restEndpoint: 'http://api.cache.b.com' }, undefined],
    [{ endpoint: ['a'], restEndpoint: { b: 'c' } }, undefined],
    [{ restEndpoint: 'https://api.cache.b.com/path' }, undefined],
    [{}, undefined],
  ])('the endpoint in %j', (changes, endpoint) => {
    expect(parse(fields(changes)).endpoint).toBe(endpoint);
    expect(parse({ api_key: key, ...changes }).endpoint).toBe(endpoint);
  });
});

describe('a renewed payload', () => {
  const expiresAt = NOW + 20 * DAY;
  const minted = {
    apiKey: v2Key('key-2', expiresAt),
    expiresAt,
    keyInfo: keyInfo({ key_id: 'key-2', expires_at_epoch_seconds: inSeconds(expiresAt), new: 1 }),
  };
  const refreshed = { ...minted, refreshToken: 'next' };
  const old = v2Key('key-1', NOW + DAY);
  const apiJson = { a: 1, api_key: old, refresh_token: 'old', key_info: keyInfo(), z: [null] };

  test.each<[string, object | string, object, unknown]>([
    [
      'console JSON, refreshed',
      { a: 1, apiKey: old, refreshToken: 'old', validUntil: 1796083200, endpoint: 'e' },
      refreshed,
      {
        a: 1,
        apiKey: minted.apiKey,
        refreshToken: 'next',
        validUntil: inSeconds(expiresAt),
        endpoint: 'e',
      },
    ],
    [
      'console JSON, minted: the old refresh token goes',
      { apiKey: KEY, refreshToken: 'old', validUntil: 1796083200, endpoint: 'e' },
      minted,
      { apiKey: minted.apiKey, validUntil: inSeconds(expiresAt), endpoint: 'e' },
    ],
    [
      'console JSON that did not say when its key expires',
      { apiKey: old, z: 1 },
      minted,
      { apiKey: minted.apiKey, z: 1, validUntil: inSeconds(expiresAt) },
    ],
    [
      'API JSON, refreshed',
      apiJson,
      refreshed,
      { ...apiJson, api_key: minted.apiKey, refresh_token: 'next', key_info: minted.keyInfo },
    ],
    [
      'API JSON, minted: the old refresh token goes',
      apiJson,
      minted,
      { a: 1, api_key: minted.apiKey, key_info: minted.keyInfo, z: [null] },
    ],
    [
      'API JSON, refreshed through the SDK',
      { api_key: KEY, refresh_token: 'old', key_info: keyInfo() },
      RENEWAL,
      {
        api_key: RENEWAL.apiKey,
        refresh_token: RENEWAL.refreshToken,
        key_info: { expires_at_epoch_seconds: inSeconds(RENEWAL.expiresAt) },
      },
    ],
  ])('%s', (_name, payload, issued, expected) => {
    const renewed = parse(payload).renewed(issued as typeof minted);
    expect(written(renewed)).toEqual(expected);
    expect(Object.keys(written(renewed))).toEqual(Object.keys(expected as object));
    expect(parse(renewed.serialize().toString())).toMatchObject({ expiresAt: renewed.expiresAt });
  });

  test('a bare key', () => {
    const renewed = parse(` ${old}\n`).renewed(minted);
    expect(renewed.serialize().toString()).toBe(minted.apiKey);
    expect(renewed).toMatchObject({ keyId: 'key-2', expiresAt });
  });

  test('the first payload', () => {
    expect(written(Credential.first('json', minted))).toEqual({
      api_key: minted.apiKey,
      key_info: minted.keyInfo,
    });
    expect(Credential.first('key', minted).serialize().toString()).toBe(minted.apiKey);
  });

  test('nothing that Secret Manager would refuse', () => {
    const apiKey = `${minted.apiKey}${'x'.repeat(65536)}`;
    expect(() => Credential.first('json', { ...minted, apiKey })).toThrow('stores 65536');
    expect(() => parse(apiJson).renewed({ ...minted, apiKey })).toThrow('stores 65536');
  });
});

describe('the fields of a renewed payload', () => {
  test.each([['apiKey'], ['authToken'], ['apiToken'], ['apiKey', 'apiToken']])(
    'the key under the names it had: %s %s',
    (...names) => {
      const rest = { refreshToken: REFRESH_TOKEN, validUntil: 1796083200 };
      const keys = (key: string) => Object.fromEntries(names.map((name) => [name, key]));
      const credential = parse({ ...keys(KEY), ...rest });
      expect(credential.apiKey).toBe(KEY);
      const renewed = credential.renewed(RENEWAL);
      expect(written(renewed)).toEqual({
        ...keys(RENEWAL.apiKey),
        refreshToken: RENEWAL.refreshToken,
        validUntil: 1796083200,
      });
      expect(renewed).toMatchObject({
        apiKey: RENEWAL.apiKey,
        refreshToken: RENEWAL.refreshToken,
        expiresAt: 1796083200000,
        kind: 'v1',
      });
    },
  );

  test('the endpoint, only where there was one', () => {
    expect(written(parse(fields({ endpoint: 'old' })).renewed(RENEWAL)).endpoint).toBe(
      RENEWAL.endpoint,
    );
    expect(written(parse(fields()).renewed(RENEWAL))).not.toHaveProperty('endpoint');
  });

  test('no expiry, if the next key has none', () => {
    const never = { apiKey: v2Key('key-2'), expiresAt: Infinity };
    expect(written(parse(fields()).renewed(never))).toEqual({ apiKey: never.apiKey });
    expect(written(parse({ api_key: V2_KEY, key_info: keyInfo() }).renewed(never))).toEqual({
      api_key: never.apiKey,
    });
  });

  test('every other field as it was, in its place', () => {
    const text =
      `{"id":12345678901234567890,"__proto__":{"a":-0},"apiKey":"${KEY}","ratio":1.50,"exponent":1E2,` +
      `"restEndpoint":"https://a.example.com/\\ud800","refreshToken":"${REFRESH_TOKEN}","validUntil":1796083100,` +
      '"nested":{"validUntil":12345678901234567890,"list":[0.1,1e400,null,true,""]},"constructor":{}}';
    const credential = parse(text);
    expect(credential.serialize().toString()).toBe(text);
    expect(credential.renewed(RENEWAL).serialize().toString()).toBe(
      text
        .replace(KEY, RENEWAL.apiKey)
        .replace(REFRESH_TOKEN, RENEWAL.refreshToken)
        .replace('1796083100', '1796083200'),
    );
  });

  test('nothing, if what was issued is no credential', () => {
    const credential = parse(fields());
    expect(() => credential.renewed({ ...RENEWAL, apiKey: 'cut' })).toThrow("doesn't decode");
    expect(credential.apiKey).toBe(KEY);
  });
});

describe('the text of a credential', () => {
  const credential = parse(fields({ note: SECRET }));
  const fingerprint = createHash('sha256').update(KEY).digest('hex').slice(0, 8);

  test('the fingerprint of the key, without the white space around it', () => {
    expect(credential.fingerprint).toBe(fingerprint);
    expect(parse(fields({ apiKey: `${KEY}\n` })).fingerprint).toBe(fingerprint);
  });

  test('the fingerprint of the refresh token, if there is one', () => {
    const token = createHash('sha256').update(REFRESH_TOKEN).digest('hex').slice(0, 8);
    expect(credential.tokenFingerprint).toBe(token);
    expect(parse(V2_KEY).tokenFingerprint).toBeUndefined();
  });

  test.each([
    ['JSON', JSON.stringify({ credential })],
    ['inspect', inspect({ credential })],
    ['inspect, of everything', inspect([credential], { depth: null, showHidden: true })],
  ])('contains only the fingerprint when it is printed as %s', (_name, text) => {
    expect(text).toContain(`Credential(${fingerprint})`);
    for (const secret of [SECRET, REFRESH_TOKEN, KEY]) expect(piecesIn(text, secret)).toEqual([]);
  });

  test('contains no secret in its properties', () => {
    const text = JSON.stringify(Object.entries(credential));
    for (const secret of [SECRET, REFRESH_TOKEN, KEY]) expect(piecesIn(text, secret)).toEqual([]);
  });
});
