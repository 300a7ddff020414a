import { isToken, keyIdOfRefreshToken, readKey, trimKey } from '../../../src/momento/api-key';
import { jwt, v1Key } from '../support';

const base64 = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64');
const HOSTS = { cp: 'control.example.com', c: 'cache.example.com' };

test.each<[string, string, object | undefined]>([
  ['part of a file that contains a key', `{"apiKey":"${jwt({ t: 'g', jti: 'key-1' })}`, undefined],
  ['v1', v1Key('secret'), { kind: 'v1' }],
  ['v1 around a JWT', v1Key(jwt({ exp: 1796083200 })), { kind: 'v1', expiresAt: 1796083200000 }],
  ['v1 around a JWT with an odd expiry', v1Key(jwt({ exp: 'soon' })), { kind: 'v1' }],
  ['legacy', jwt(HOSTS), { kind: 'legacy' }],
  ['legacy with an expiry', jwt({ ...HOSTS, exp: 1.5e9 }), { kind: 'legacy', expiresAt: 1.5e12 }],
  ['v2', jwt({ t: 'g', jti: 'key-1', exp: 1.8e9 }), { kind: 'v2', id: 'key-1', expiresAt: 1.8e12 }],
  ['v2 that never expires', jwt({ t: 'g', jti: 'key-1' }), { kind: 'v2', id: 'key-1' }],
  [
    'v2 with the time of issue',
    jwt({ t: 'g', iat: 1.7e9, exp: 1.8e9 }),
    { kind: 'v2', issuedAt: 1.7e12, expiresAt: 1.8e12 },
  ],
  ['v2 with an odd time of issue', jwt({ t: 'g', iat: 1.7e12 }), { kind: 'v2' }],
  ['v1 with the time of issue', v1Key(jwt({ iat: 1.7e9 })), { kind: 'v1', issuedAt: 1.7e12 }],
  ['legacy, issued', jwt({ ...HOSTS, iat: 1.7e9 }), { kind: 'legacy', issuedAt: 1.7e12 }],
  ['v2 that names hosts', jwt({ ...HOSTS, t: 'g' }), { kind: 'v2' }],

  ['v2 with an id that is no string', jwt({ t: 'g', jti: 7 }), undefined],
  ['v2 with an id of two lines', jwt({ t: 'g', jti: 'a\nb' }), undefined],
  ['v2 with a long id', jwt({ t: 'g', jti: 'a'.repeat(201) }), undefined],
  ['v2 with an expiry in words', jwt({ t: 'g', exp: 'never' }), undefined],
  ['v2 with an expiry of null', jwt({ t: 'g', exp: null }), undefined],
  ['v2 that expires in milliseconds', jwt({ t: 'g', exp: 1.8e12 }), undefined],
  ['v2 that expires before 1970', jwt({ t: 'g', exp: -1 }), undefined],
  ['v2 with a line break', `${jwt({ t: 'g' })}\n`, undefined],
  ['v2 with an é', `${jwt({ t: 'g' })}é`, undefined],
  ['a v2 refresh token', jwt({ t: 'gr', akid: 'key-1' }), undefined],
  ['a disposable token', jwt({ t: 's' }), undefined],
  ['a JWT of null', jwt(null), undefined],
  ['a JWT of a string', jwt('g'), undefined],
  ['half a JWT', jwt({ t: 'g' }).slice(0, 25), undefined],
  ['legacy with one host', jwt({ cp: 'control.example.com' }), undefined],
  ['legacy with an empty host', jwt({ cp: '', c: 'cache.example.com' }), undefined],
  ['v1 without an endpoint', base64({ api_key: 'secret' }), undefined],
  ['v1 with an empty endpoint', v1Key('secret', ''), undefined],
  ['v1 without a key', base64({ endpoint: 'cell-1.example.com' }), undefined],
  ['base64 of null', base64(null), undefined],
  ['v1 that was cut', v1Key('secret').slice(0, -5), undefined],
  ['v1 with a gap', v1Key('secret').replace(/^.{8}/, '$&\n'), undefined],
  ['a word', 'secret', undefined],
  ['nothing', '', undefined],
  ['v1 of white space', v1Key(' \n'), undefined],
])('reads %s', (_name, apiKey, facts) => {
  expect(readKey(apiKey)).toEqual(facts);
});

test.each([
  [jwt({ t: 'gr', akid: 'key-1' }), 'key-1'],
  [jwt({ t: 'gr', akid: 'a\nb' }), undefined],
  [jwt({ iss: 'gomomento.com/refresh', akid: 'key-1' }), undefined],
  ['opaque', undefined],
])('finds the key of the refresh token %s', (token, id) => {
  expect(keyIdOfRefreshToken(token)).toBe(id);
});

test.each([
  [' key\r\n', 'key'],
  [`\uFEFF${jwt({ t: 'g' })}`, jwt({ t: 'g' })],
  [v1Key('inner'), v1Key('inner')],
  [`${v1Key('inner')}\n`, v1Key('inner')],
  [v1Key(' inner\n'), v1Key('inner')],
  [v1Key('\uFEFFinner', 'cell-1.example.com '), v1Key('inner', 'cell-1.example.com')],
])('trims the key %j', (apiKey, trimmed) => {
  expect(trimKey(apiKey)).toBe(trimmed);
});

test.each([
  ['token', true],
  ['a'.repeat(8192), true],
  ['', false],
  ['a b', false],
  ['é', false],
  ['a'.repeat(8193), false],
])('accepts %j as a token: %s', (text, is) => {
  expect(isToken(text)).toBe(is);
});
