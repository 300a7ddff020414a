import { createHash } from 'node:crypto';
import { inspect } from 'node:util';
import { Credential } from '../../../src/momento/credential';
import { RotationError } from '../../../src/errors';
import { DAY, jwt, NOW, piecesIn, SECOND, thrownBy, v1Key } from '../support';
import { inSeconds, keyInfo, parse, SECRET, v2Key, written } from './support';

const REFRESH_TOKEN = 'Yb2-planted-hMs8Vc4Kd6';
const KEY = v1Key(SECRET);
const LEGACY_KEY = jwt({ cp: 'control.example.com', c: 'cache.example.com', sub: SECRET });
const V2_KEY = jwt({ t: 'g', id: SECRET });

const REFRESHED = {
  apiKey: v1Key('another'),
  refreshToken: 'another refresh token',
  expiresAt: Date.parse('2026-12-01T00:00:00.999Z'),
  endpoint: 'cell-2.example.com',
};

const KEYLESS = { refreshToken: REFRESH_TOKEN, validUntil: 1796083200 };

/** Console JSON. */
function fields(changes: Record<string, unknown> = {}): Record<string, unknown> {
  return { apiKey: KEY, ...KEYLESS, ...changes };
}

describe('parse fails', () => {
  const api = (changes: object) => ({ api_key: V2_KEY, refresh_token: REFRESH_TOKEN, ...changes });
  const info = (changes: Record<string, unknown>) => api({ key_info: keyInfo(changes) });
  const notSeconds = (field: string) => `'key_info.${field}' isn't a whole number of seconds`;
  const TIMES = [1.5, 1796083200000, -1, '1796083200', {}];

  /** The problem, and payloads with it. */
  const INVALID: [string, ...unknown[]][] = [
    ['it is empty', '', ' \n'],
    ["it isn't UTF-8", Buffer.concat([Buffer.from(KEY), Buffer.from([0xff])])],
    ['it is neither JSON nor a Momento API key', SECRET, JSON.stringify(fields()).slice(0, -3)],
    ['it is neither JSON nor a Momento API key', V2_KEY.slice(0, 30), `${V2_KEY}\n${V2_KEY}`],
    ["it is JSON, but it isn't an object", JSON.stringify(KEY), '12345678901234567890', 'null'],
    ["it is JSON, but it isn't an object", [fields()]],
    ['and Secret Manager stores at most 65536', `${JSON.stringify(fields())}${' '.repeat(65536)}`],
    ['less than 2048 bytes for a longer key', fields({ note: SECRET.repeat(2900) })],

    ["it has no field 'apiKey' or 'api_key'", KEYLESS],
    ["both 'apiKey' and 'api_key', which belong to two formats", fields({ api_key: KEY })],
    ["'apiKey' and 'authToken' with different values", fields({ authToken: v1Key('other') })],
    ["'apiKey' isn't a string", fields({ apiKey: { a: SECRET } }), fields({ apiKey: null })],
    ["'apiKey' isn't a string", '{"apiKey": 12345678901234567890}'],
    ["'apiKey' is empty", fields({ apiKey: '' })],
    ["'authToken' is empty", { ...KEYLESS, authToken: ' \n' }],
    ["'api_key' isn't a string", { api_key: 7 }],
    ["'api_key' is empty", { api_key: '\n' }],
    ["its key doesn't decode as a Momento API key", fields({ apiKey: KEY.slice(0, -5) })],
    ["'refreshToken' isn't", fields({ refreshToken: [SECRET] }), fields({ refreshToken: 0 })],
    ["'refresh_token' isn't a string", api({ refresh_token: {} })],
    ["its refresh token isn't a token", api({ refresh_token: `${SECRET} é` })],

    ["'key_info' isn't an object", api({ key_info: [SECRET] }), api({ key_info: SECRET })],
    ["'key_info.role_id' isn't an id", info({ role_id: `r\n${SECRET}` }), info({ role_id: '' })],
    ["'key_info.key_id' isn't an id", info({ key_id: 7 })],
    [
      notSeconds('expires_at_epoch_seconds'),
      ...TIMES.map((time) => info({ expires_at_epoch_seconds: time })),
    ],
    [
      notSeconds('issued_at_epoch_seconds'),
      ...TIMES.map((time) => info({ issued_at_epoch_seconds: time })),
    ],
    [
      "'validUntil' isn't the key's expiry",
      ...['', 'soon', '2026-12-01', '0x6b0e5d80', '-1796083200', '1796083200.5', SECRET],
      ...[true, 1796083200.5, -1796083200, [1796083200], { seconds: 1796083200 }],
      ...[999_999_999, 100_000_000_000, 999_999_999_999, 100_000_000_000_000],
    ].map((value, index) => (index === 0 ? value : fields({ validUntil: value }))) as [string],
  ];
  const CASES = INVALID.flatMap(([problem, ...payloads]) =>
    payloads.map((payload) => ({ problem, payload })),
  );

  test.each(CASES)('with the remedy, and no secret, when $problem (%#)', ({ problem, payload }) => {
    const error = thrownBy(() =>
      Buffer.isBuffer(payload) ? Credential.parse(payload) : parse(payload as object),
    );
    expect(error).toBeInstanceOf(RotationError);
    const { code, ...parts } = error as RotationError;
    expect(code).toBe('PAYLOAD_INVALID');
    expect(parts.problem).toContain(problem);
    expect(parts.action).toContain('Store the JSON from the Momento console');
    const everything = inspect(error, { depth: null, showHidden: true });
    for (const secret of [SECRET, REFRESH_TOKEN, KEY, V2_KEY]) {
      expect(piecesIn(everything, secret)).toEqual([]);
    }
  });

  test('when the payload leaves a byte too little for the next key', () => {
    const room = 65536 - 2048 - JSON.stringify(fields({ note: '' })).length;
    const note = (bytes: number) => fields({ note: 'é'.repeat(bytes / 2) + 'n'.repeat(bytes % 2) });
    expect(parse(note(room)).apiKey).toBe(KEY);
    expect(() => parse(note(room + 1))).toThrow('less than 2048 bytes');
  });

  test('when the payload is too long only because of its white space', () => {
    const json = JSON.stringify(fields());
    const longest = json + ' '.repeat(65536 - json.length);
    expect(parse(longest).serialize().toString()).toBe(json);
    expect(() => parse(`${longest} `)).toThrow('it is 65537 bytes long');
  });
});

describe('parse reads', () => {
  const expiresAt = NOW + 10 * DAY;
  const key = v2Key('key-1', expiresAt);
  const apiJson = { api_key: key, key_info: keyInfo() };
  /** A v1 key and legacy key have the expiry of `validUntil`, a v2 key its own. */
  const VALID_UNTIL = 1796083200 * SECOND;

  test.each<[string, string | object, object]>([
    ['a v1 key', fields(), { kind: 'v1', apiKey: KEY, expiresAt: VALID_UNTIL }],
    ['a legacy key', fields({ apiKey: LEGACY_KEY }), { kind: 'legacy', apiKey: LEGACY_KEY }],
    ['a v2 key', fields({ apiKey: key }), { kind: 'v2', keyId: 'key-1', expiresAt }],
    ['a v2 key, null', fields({ apiKey: key, validUntil: null }), { expiresAt }],
    ['a v2 key without expiry', fields({ apiKey: V2_KEY }), { expiresAt: VALID_UNTIL }],
    ['JSON after a byte order mark', `\uFEFF${JSON.stringify(fields())}`, { apiKey: KEY }],
    ['a key with white space', fields({ apiKey: `${KEY}\n` }), { apiKey: KEY }],
    ['a token with white space', fields({ refreshToken: ' t\r\n' }), { refreshToken: 't' }],

    ['a bare v1 key', KEY, { apiKey: KEY, kind: 'v1', expiresAt: Infinity }],
    ['a bare v1 key with expiry', v1Key(jwt({ exp: inSeconds(expiresAt) })), { expiresAt }],
    ['a bare v2 key', `\n ${key}\r\n`, { apiKey: key, refreshToken: undefined, expiresAt }],

    ['API JSON', apiJson, { kind: 'v2', keyId: 'key-1', role: 'r-viewer', expiresAt }],
    ['white space in API JSON', { api_key: `${key}\n`, refresh_token: ' t ' }, { apiKey: key }],
    ['API JSON with null', { api_key: key, refresh_token: null, key_info: null }, { expiresAt }],
    ['API JSON with a v1 key', { ...apiJson, api_key: KEY }, { role: 'r-viewer', expiresAt }],
    ['a v1 key alone in API JSON', { api_key: KEY }, { kind: 'v1', expiresAt: Infinity }],
  ])('%s', (_name, payload, expected) => {
    expect(parse(payload)).toMatchObject(expected);
  });

  test.each([undefined, null, '', ' \n'])('the refresh token %j as none', (refreshToken) => {
    expect(parse(fields({ refreshToken })).refreshToken).toBeUndefined();
  });

  test.each([
    [1796083200, 1796083200000, 1796083200],
    [' 1796083200\n', 1796083200000, '1796083200'],
    ['1796083200000', 1796083200000, '1796083200999'],
    [1e9, 1e12, 1796083200],
    [99_999_999_999, 99_999_999_999_000, 1796083200],
    [1e12, 1e12, 1796083200999],
    [99_999_999_999_999, 99_999_999_999_999, 1796083200999],
  ])('validUntil %j as %d, and writes it as %j', (validUntil, expected, renewed) => {
    const credential = parse(fields({ validUntil }));
    expect(credential.expiresAt).toBe(expected);
    expect(written(credential.renewed(REFRESHED)).validUntil).toBe(renewed);
  });

  test.each([undefined, null, 0])('validUntil %j as never', (validUntil) => {
    expect(parse(fields({ validUntil })).expiresAt).toBe(Infinity);
  });

  test.each([
    ['1796083200.0', 1796083200],
    ['1.796083200000E12', 1796083200999],
  ])('validUntil written as %s, and keeps it until it is renewed', (notation, renewed) => {
    const text = JSON.stringify(fields()).replace('1796083200', notation);
    const credential = parse(text);
    expect(credential.expiresAt).toBe(1796083200000);
    expect(credential.serialize().toString()).toBe(text);
    expect(written(credential.renewed(REFRESHED)).validUntil).toBe(renewed);
  });

  const claimed = jwt({ t: 'g', jti: 'key-1', iat: inSeconds(NOW) - 5 });

  test.each<[string, string | object, number | undefined]>([
    ['of a key that contains it', claimed, NOW - 5 * SECOND],
    ['of the key, not of key_info', { ...apiJson, api_key: claimed }, NOW - 5 * SECOND],
    ['of key_info', apiJson, NOW],
    ['nowhere', key, undefined],
    // No key of an older kind has an id, so the description is that of another key.
    ["of another key's key_info", { ...apiJson, api_key: KEY }, undefined],
    [
      'of a key_info without an id',
      { api_key: key, key_info: keyInfo({ key_id: null }) },
      undefined,
    ],
  ])('the time of issue %s', (_name, payload, expected) => {
    expect(parse(payload).issuedAt).toBe(expected);
  });

  test('nothing from the description of another key', () => {
    const credential = parse({ ...apiJson, api_key: v2Key('key-2', expiresAt) });
    expect([credential.role, credential.issuedAt]).toEqual([undefined, undefined]);
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

describe('renewed', () => {
  const expiresAt = NOW + 20 * DAY;
  const apiKey = v2Key('key-2', expiresAt);
  const validUntil = inSeconds(expiresAt);
  const key_info = keyInfo({ key_id: 'key-2', expires_at_epoch_seconds: validUntil, new: 1 });
  const minted = { apiKey, expiresAt, keyInfo: key_info };
  const never = { apiKey: v2Key('key-2'), expiresAt: Infinity };
  const old = v2Key('key-1', NOW + DAY);
  const apiJson = { a: 1, api_key: old, refresh_token: 'old', key_info: keyInfo(), z: [null] };

  test.each<[string, object, Parameters<Credential['renewed']>[0], object]>([
    [
      'a refreshed key in console JSON',
      { a: 1, apiKey: old, refreshToken: 'old', validUntil: 1796083200, endpoint: 'e' },
      { ...minted, refreshToken: 'next' },
      { a: 1, apiKey, refreshToken: 'next', validUntil, endpoint: 'e' },
    ],
    [
      'a minted key in console JSON, without the old refresh token',
      fields({ endpoint: 'e' }),
      minted,
      { apiKey, validUntil, endpoint: 'e' },
    ],
    ['an expiry where there was none', { apiKey: old, z: 1 }, minted, { apiKey, z: 1, validUntil }],
    ['no expiry if the key never expires', fields(), never, { apiKey: never.apiKey }],
    [
      'an endpoint where there was one',
      fields({ endpoint: 'old' }),
      REFRESHED,
      {
        apiKey: REFRESHED.apiKey,
        refreshToken: REFRESHED.refreshToken,
        validUntil: 1796083200,
        endpoint: REFRESHED.endpoint,
      },
    ],
    [
      'a refreshed key in API JSON',
      apiJson,
      { ...minted, refreshToken: 'next' },
      { ...apiJson, api_key: apiKey, refresh_token: 'next', key_info },
    ],
    [
      'a minted key in API JSON, without the old refresh token',
      apiJson,
      minted,
      { a: 1, api_key: apiKey, key_info, z: [null] },
    ],
    [
      'the expiry in API JSON if there is no description',
      { api_key: KEY, refresh_token: 'old', key_info: keyInfo() },
      REFRESHED,
      {
        api_key: REFRESHED.apiKey,
        refresh_token: REFRESHED.refreshToken,
        key_info: { expires_at_epoch_seconds: inSeconds(REFRESHED.expiresAt) },
      },
    ],
    [
      'no description in API JSON if the key never expires',
      { api_key: V2_KEY, key_info: keyInfo() },
      never,
      { api_key: never.apiKey },
    ],
  ])('writes %s', (_name, payload, issued, expected) => {
    const renewed = parse(payload).renewed(issued);
    expect(written(renewed)).toEqual(expected);
    expect(Object.keys(written(renewed))).toEqual(Object.keys(expected));
    expect(parse(renewed.serialize().toString())).toMatchObject({ expiresAt: renewed.expiresAt });
  });

  test('writes a bare key', () => {
    const renewed = parse(` ${old}\n`).renewed(minted);
    expect(renewed.serialize().toString()).toBe(apiKey);
    expect(renewed).toMatchObject({ keyId: 'key-2', expiresAt });
  });

  test.each([['apiKey'], ['authToken'], ['apiToken'], ['apiKey', 'apiToken']])(
    'writes the key under the names that it had: %s %s',
    (...names) => {
      const keys = (key: string) => Object.fromEntries(names.map((name) => [name, key]));
      const renewed = parse({ ...keys(KEY), ...KEYLESS }).renewed(REFRESHED);
      const { apiKey, refreshToken } = REFRESHED;
      expect(written(renewed)).toEqual({ ...keys(apiKey), refreshToken, validUntil: 1796083200 });
      expect(renewed).toMatchObject({ apiKey, refreshToken, expiresAt: 1796083200000, kind: 'v1' });
    },
  );

  test('keeps every other field as it was, in its place', () => {
    const text =
      `{"id":12345678901234567890,"__proto__":{"a":-0},"apiKey":"${KEY}","ratio":1.50,"exponent":1E2,` +
      `"restEndpoint":"https://a.example.com/\\ud800","refreshToken":"${REFRESH_TOKEN}","validUntil":1796083100,` +
      '"nested":{"validUntil":12345678901234567890,"list":[0.1,1e400,null,true,""]},"constructor":{}}';
    const credential = parse(text);
    expect(credential.serialize().toString()).toBe(text);
    expect(credential.renewed(REFRESHED).serialize().toString()).toBe(
      text
        .replace(KEY, REFRESHED.apiKey)
        .replace(REFRESH_TOKEN, REFRESHED.refreshToken)
        .replace('1796083100', '1796083200'),
    );
  });

  test('fails, and changes nothing, when the issued key is invalid or too long to be stored', () => {
    const credential = parse(apiJson);
    const long = { ...minted, apiKey: `${apiKey}${'x'.repeat(65536)}` };
    expect(() => credential.renewed({ ...minted, apiKey: 'cut' })).toThrow("doesn't decode");
    expect(() => credential.renewed(long)).toThrow('stores at most 65536');
    expect(() => Credential.first('json', long)).toThrow('stores at most 65536');
    expect(written(credential)).toEqual(apiJson);
  });

  test('has a first payload to begin with', () => {
    expect(written(Credential.first('json', minted))).toEqual({ api_key: apiKey, key_info });
    expect(Credential.first('key', minted).serialize().toString()).toBe(apiKey);
  });
});

describe('the text of a credential', () => {
  const credential = parse(fields({ note: SECRET }));
  const sha256 = (secret: string) => createHash('sha256').update(secret).digest('hex').slice(0, 8);

  test('has fingerprints of the key and of the refresh token, without white space', () => {
    expect(parse(fields({ apiKey: `${KEY}\n` })).fingerprint).toBe(sha256(KEY));
    expect(credential.tokenFingerprint).toBe(sha256(REFRESH_TOKEN));
    expect(parse(V2_KEY).tokenFingerprint).toBeUndefined();
  });

  test.each([
    ['JSON', JSON.stringify({ credential })],
    ['inspect', inspect({ credential })],
    ['inspect, of everything', inspect([credential], { depth: null, showHidden: true })],
    ['its properties', `Credential(${sha256(KEY)}) ${JSON.stringify(Object.entries(credential))}`],
  ])('contains no secret when it is printed as %s', (_name, text) => {
    expect(text).toContain(`Credential(${sha256(KEY)})`);
    for (const secret of [SECRET, REFRESH_TOKEN, KEY]) expect(piecesIn(text, secret)).toEqual([]);
  });
});
