import { createHash } from 'node:crypto';
import { inspect } from 'node:util';
import { Credential } from '../../src/credential';
import { RotationError } from '../../src/errors';
import { jwt, piecesIn, thrownBy, v1Key } from './support';

const SECRET = 'Xk7-planted-pWq3Zr9Tn5';
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

function parse(value: unknown): Credential {
  return Credential.parse(Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)));
}

function written(credential: Credential): Record<string, unknown> {
  return JSON.parse(credential.serialize().toString()) as Record<string, unknown>;
}

describe('a payload that is not a credential', () => {
  const withoutKey = { refreshToken: REFRESH_TOKEN, validUntil: 1796083200 };
  const cases: [name: string, payload: unknown, problem: string][] = [
    ['empty', Buffer.alloc(0), 'it is empty'],
    ['not UTF-8', Buffer.concat([Buffer.from(KEY), Buffer.from([0xff])]), 'it is not UTF-8'],
    ['not JSON', KEY, 'it is not JSON'],
    ['cut JSON', JSON.stringify(fields()).slice(0, -3), 'it is not JSON'],
    ['a string', JSON.stringify(KEY), 'it is JSON, but not an object'],
    ['a number', '1796083200', 'it is JSON, but not an object'],
    ['a large number', '12345678901234567890', 'it is JSON, but not an object'],
    ['null', 'null', 'it is JSON, but not an object'],
    ['a list', [fields()], 'it is JSON, but not an object'],
    ['too long', `${JSON.stringify(fields())}${' '.repeat(65536)}`, 'bytes long, and 65536 are'],
    ['too long to grow', fields({ note: SECRET.repeat(2900) }), 'less than 2048 bytes below'],

    ['no key', withoutKey, "it has no field 'apiKey'"],
    ['a key that is no string', fields({ apiKey: { nested: SECRET } }), "'apiKey' is not a string"],
    ['a key that is null', fields({ apiKey: null }), "'apiKey' is not a string"],
    [
      'a large number as the key',
      '{"apiKey": 12345678901234567890, "validUntil": 1796083200}',
      "'apiKey' is not a string",
    ],
    ['an empty key', fields({ apiKey: '' }), "'apiKey' is empty"],
    ['a blank key', { ...withoutKey, authToken: ' \n' }, "'authToken' is empty"],
    [
      'two keys that differ',
      fields({ authToken: v1Key('other') }),
      "'apiKey' and 'authToken' with different values",
    ],

    ['a refresh token that is no string', fields({ refreshToken: [SECRET] }), "'refreshToken' is"],
    ['a refresh token that is a number', fields({ refreshToken: 0 }), "'refreshToken' is not a"],

    ['a key that is no base64', fields({ apiKey: `${SECRET}!` }), 'does not decode'],
    ['a key that was cut', fields({ apiKey: KEY.slice(0, -5) }), 'does not decode'],
    ['a key with a gap', fields({ apiKey: `${KEY.slice(0, 8)}\n${KEY.slice(8)}` }), 'not decode'],
    ['a key of other JSON', fields({ apiKey: base64({ api_key: SECRET }) }), 'does not decode'],
    ['a key without api_key', fields({ apiKey: base64({ endpoint: SECRET }) }), 'does not decode'],
    ['a key with an empty endpoint', fields({ apiKey: v1Key(SECRET, '') }), 'does not decode'],
    ['a key with an empty api_key', fields({ apiKey: v1Key('') }), 'does not decode'],
    ['a key of JSON null', fields({ apiKey: base64(null) }), 'does not decode'],
    ['a JWT without its claims', fields({ apiKey: LEGACY_KEY.split('.')[0] }), 'does not decode'],
    ['a JWT with one host', fields({ apiKey: jwt({ cp: 'host', sub: SECRET }) }), 'not decode'],
    ['a JWT with an empty host', fields({ apiKey: jwt({ cp: '', c: 'host' }) }), 'not decode'],
    ['a JWT of another type', fields({ apiKey: jwt({ t: 's', sub: SECRET }) }), 'does not decode'],

    ...[
      ...[
        undefined,
        null,
        0,
        true,
        '',
        'soon',
        '2026-12-01',
        'Infinity',
        '0x6b0e5d80',
        '-1796083200',
      ],
      ...[1796083200.5, '1796083200.5', -1796083200, [1796083200], { seconds: 1796083200 }],
      ...[999_999_999, 100_000_000_000, 999_999_999_999, 100_000_000_000_000, SECRET],
    ].map((validUntil): [string, unknown, string] => [
      `validUntil ${JSON.stringify(validUntil)}`,
      fields({ validUntil }),
      "'validUntil' is not the key's expiry",
    ]),
  ];

  function base64(value: unknown): string {
    return Buffer.from(JSON.stringify(value)).toString('base64');
  }

  test.each(cases)('%s: refused, with the reason and the remedy', (_name, payload, problem) => {
    const error = thrownBy(() =>
      Buffer.isBuffer(payload) ? Credential.parse(payload) : parse(payload),
    );
    expect(error).toBeInstanceOf(RotationError);
    const { code, message } = error as RotationError;
    expect(code).toBe('PAYLOAD_INVALID');
    expect(message).toContain(problem);
    expect(message).toContain('Nothing was changed');
    expect(message).toContain('Store the JSON that the Momento console downloads');
    const everything = inspect(error, { depth: null, showHidden: true });
    for (const secret of [SECRET, REFRESH_TOKEN, KEY, LEGACY_KEY, V2_KEY]) {
      expect(piecesIn(everything, secret)).toEqual([]);
    }
  });

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

describe('what is read', () => {
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

describe('what is written back', () => {
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
    expect(() => credential.renewed({ ...RENEWAL, apiKey: 'cut' })).toThrow('does not decode');
    expect(() => credential.renewed({ ...RENEWAL, expiresAt: Infinity })).toThrow('validUntil');
    expect(credential.apiKey).toBe(KEY);
  });
});

describe('what is shown', () => {
  const credential = parse(fields({ note: SECRET }));
  const fingerprint = createHash('sha256').update(KEY).digest('hex').slice(0, 8);

  test('the fingerprint of the key, without the white space around it', () => {
    expect(credential.fingerprint).toBe(fingerprint);
    expect(parse(fields({ apiKey: `${KEY}\n` })).fingerprint).toBe(fingerprint);
  });

  test.each([
    ['JSON', JSON.stringify({ credential })],
    ['inspect', inspect({ credential })],
    ['inspect, of everything', inspect([credential], { depth: null, showHidden: true })],
  ])('%s: that, and nothing else', (_name, text) => {
    expect(text).toContain(`Credential(${fingerprint})`);
    for (const secret of [SECRET, REFRESH_TOKEN, KEY]) expect(piecesIn(text, secret)).toEqual([]);
  });

  test('no property of the object holds a secret', () => {
    const text = JSON.stringify(Object.entries(credential));
    for (const secret of [SECRET, REFRESH_TOKEN, KEY]) expect(piecesIn(text, secret)).toEqual([]);
  });
});
