import { ExpiresAt, RefreshApiKey, UnknownError, type AuthClient } from '@gomomento/sdk';
import { systemClock } from '../../../src/clock';
import { RotationError } from '../../../src/errors';
import { RefreshRefused } from '../../../src/momento/key-api';
import { acceptV1, refresh } from '../../../src/momento/refresh';
import { Sdk } from '../../../src/momento/sdk';
import { DAY, jwt, NOW, secretName, testClock, thrownBy, v1Key } from '../support';
import { inSeconds, keyInfo, parse, SECRET, v2Key, v2RefreshToken, written } from './support';

const NAME = 'projects/p/secrets/s';
const LIMITS = { deadline: 1234 };
const validUntil = inSeconds(NOW + 10 * DAY);
const V1 = { apiKey: v1Key(SECRET), refreshToken: 'token', validUntil };
const V2 = {
  api_key: v2Key('key-1', NOW + 10 * DAY),
  refresh_token: v2RefreshToken('key-1'),
  key_info: keyInfo(),
};
const NO_TOKEN = expect.stringContaining(
  'without a refresh token: the next rotation is blocked',
) as string;

test('a refresh that has begun in time goes on after the latest time to begin', async () => {
  const clock = testClock();
  const sdk = new Sdk(clock, undefined);
  const answer = new RefreshApiKey.Error(new UnknownError('late', undefined));
  const refreshApiKey = () => clock.sleep(59_000).then(() => answer);
  jest.spyOn(sdk, 'authClient').mockReturnValue({ refreshApiKey } as unknown as AuthClient);
  const limits = { deadline: clock.monotonic() + 1_000 };
  expect(await sdk.refresh(parse(V1), limits)).toBe(answer);
});

test("a refresh doesn't wait for refreshes at a host without an answer", async () => {
  const clock = testClock();
  const sdk = new Sdk(clock, undefined);
  const answer = new RefreshApiKey.Error(new UnknownError('late', undefined));
  jest.spyOn(sdk, 'authClient').mockImplementation((credential) => {
    const isSilent = sdk.host(credential).endsWith('silent.example.com');
    const refreshApiKey = () => (isSilent ? Promise.race([]) : Promise.resolve(answer));
    return { refreshApiKey } as unknown as AuthClient;
  });
  const limits = { deadline: Infinity };
  const silent = parse({ ...V1, apiKey: v1Key(SECRET, 'silent.example.com') });
  for (let call = 0; call < 100; call += 1) sdk.refresh(silent, limits).catch(() => undefined);
  const start = clock.monotonic();
  expect(await sdk.refresh(parse(V1), limits)).toBe(answer);
  expect(clock.monotonic()).toBe(start);
});

describe('the answer to a refresh of a v1 key', () => {
  const answer = {
    apiKey: v1Key('another'),
    refreshToken: 'next',
    endpoint: 'cell-2.example.com',
    expiresAt: ExpiresAt.fromEpoch(inSeconds(NOW + 20 * DAY)),
  };
  const accept = (changes: Partial<typeof answer> = {}, payload: object = V1) =>
    acceptV1(parse(payload), { ...answer, ...changes }, NOW);

  test('goes into the payload', () => {
    const { credential, warnings } = accept({}, { ...V1, endpoint: 'cell-1.example.com' });
    expect(written(credential)).toEqual({
      apiKey: answer.apiKey,
      refreshToken: 'next',
      validUntil: inSeconds(NOW + 20 * DAY),
      endpoint: 'cell-2.example.com',
    });
    expect(warnings).toEqual([]);
  });

  test('is stored without white space around key and token', () => {
    const { credential, warnings } = accept({
      apiKey: v1Key(' another\r\n', '\uFEFFcell-1.example.com'),
      refreshToken: ' next\n',
    });
    expect(written(credential)).toMatchObject({ apiKey: answer.apiKey, refreshToken: 'next' });
    expect(warnings).toEqual([]);
  });

  test.each(['', ' \n'])('is stored with a warning if its refresh token is %j', (refreshToken) => {
    const { credential, warnings } = accept({ refreshToken });
    expect(written(credential)).toEqual({
      apiKey: answer.apiKey,
      validUntil: inSeconds(NOW + 20 * DAY),
    });
    expect(warnings).toEqual([NO_TOKEN]);
  });

  test.each([
    ['is missing', undefined],
    ['is zero', 0],
    ['is in the past', inSeconds(NOW - DAY)],
    ['is in nanoseconds', NOW * 1e6],
    ['is the largest that a server can send', Number(2n ** 64n - 1n)],
  ])('is stored with a warning and the previous expiry if its expiry %s', (_name, seconds) => {
    const { credential, warnings } = accept({ expiresAt: ExpiresAt.fromEpoch(seconds) });
    expect(written(credential)).toMatchObject({ apiKey: answer.apiKey, validUntil });
    expect(warnings).toEqual([expect.stringContaining('expiry of the previous key')]);
  });

  test("is stored with the key's own expiry if it has no other", () => {
    const apiKey = v1Key(jwt({ exp: inSeconds(NOW + 5 * DAY) }));
    const { credential, warnings } = accept({ apiKey, expiresAt: ExpiresAt.fromEpoch(undefined) });
    expect(written(credential).validUntil).toBe(inSeconds(NOW + 5 * DAY));
    expect(warnings).toEqual([]);
  });

  test('is final and unusable with a cut key', () => {
    expect(thrownBy(() => accept({ apiKey: answer.apiKey.slice(0, -5) }))).toMatchObject({
      code: 'ISSUED_CREDENTIAL_INVALID',
      retryable: false,
      outcomeUnknown: true,
      problem: expect.stringContaining("isn't a Momento API key") as string,
    });
  });
});

describe('the answer to a refresh of a v2 key', () => {
  const stored = {
    api_key: v2Key('key-2', NOW + 20 * DAY),
    refresh_token: v2RefreshToken('key-2'),
    key_info: keyInfo({ key_id: 'key-2', expires_at_epoch_seconds: inSeconds(NOW + 20 * DAY) }),
  };
  const answer = { ...stored, previous_key_id: 'key-1' };

  /** Without the fields that are undefined, as JSON has none. */
  async function issue(changes: object = {}, payload: object = V2) {
    const used: unknown[] = [];
    const api = {
      refresh: (...call: unknown[]) => {
        used.push(call);
        return Promise.resolve(
          JSON.parse(JSON.stringify({ ...answer, ...changes })) as Record<string, unknown>,
        );
      },
    };
    const current = parse(payload);
    const sdk = new Sdk(systemClock, undefined);
    const next = refresh(secretName(NAME), current, { api, sdk, now: () => NOW });
    expect(next).toMatchObject({ by: 'refresh', maxUnknownOutcomes: Infinity });
    const issued = await next.issue(LIMITS);
    expect(used).toEqual([[current.refreshToken, LIMITS]]);
    return issued;
  }

  test('goes into the payload', async () => {
    const { credential, warnings } = await issue();
    expect(credential).toMatchObject({ keyId: 'key-2', expiresAt: NOW + 20 * DAY });
    expect(written(credential)).toEqual(stored);
    expect(warnings).toEqual([]);
  });

  test('is stored without white space around key and token', async () => {
    const [api_key, refresh_token] = [`\uFEFF${answer.api_key}\n`, ` ${answer.refresh_token}\r\n`];
    const { credential, warnings } = await issue({ api_key, refresh_token });
    expect(written(credential)).toEqual(stored);
    expect(warnings).toEqual([]);
  });

  test.each<[string, unknown, unknown]>([
    ['missing', undefined, NO_TOKEN],
    ['null', null, NO_TOKEN],
    ['empty', '', NO_TOKEN],
    ['blank', ' \n', NO_TOKEN],
    ['a number', 7, expect.stringContaining("isn't a string: the next rotation is blocked")],
    ['an object', { token: SECRET }, expect.stringContaining("isn't a string")],
    ['not a token', `${SECRET} é`, expect.stringContaining('characters that no token has')],
    ['oversized', 'x'.repeat(100_000), expect.stringContaining('too long')],
  ])('is stored with a warning if its refresh token is %s', async (_name, token, warning) => {
    const { credential, warnings } = await issue({ refresh_token: token });
    const { api_key, key_info } = stored;
    expect(written(credential)).toEqual({ api_key, key_info });
    expect(warnings).toEqual([warning]);
    expect(warnings.join()).not.toContain(SECRET);
  });

  test('is stored with a warning if its refresh token belongs to another key', async () => {
    const { credential, warnings } = await issue({ refresh_token: v2RefreshToken('key-9') });
    expect(credential.keyId).toBe('key-2');
    expect(warnings).toEqual([expect.stringContaining('the refresh token of another key')]);
  });

  test.each<[string, unknown]>([
    ['missing', undefined],
    ['null', null],
    ['a text', SECRET],
    ['without an id', keyInfo({ key_id: undefined })],
    ['of another key', keyInfo({ key_id: 'key-9' })],
    ['with a time in milliseconds', keyInfo({ key_id: 'key-2', expires_at_epoch_seconds: NOW })],
    ['too long to be stored', keyInfo({ key_id: 'key-2', description: 'x'.repeat(1024) })],
  ])('is stored with a warning if its description is %s', async (_name, key_info) => {
    const { credential, warnings } = await issue({ key_info });
    expect(written(credential)).toEqual({
      ...stored,
      key_info: { expires_at_epoch_seconds: inSeconds(NOW + 20 * DAY) },
    });
    expect(warnings).toEqual([expect.stringContaining("contains no valid 'key_info'")]);
  });

  test('is stored with a warning if it names another key as the previous one', async () => {
    const { warnings } = await issue({ previous_key_id: 'key-0' });
    expect(warnings).toEqual([expect.stringContaining('previous_key_id')]);
    expect((await issue({ previous_key_id: undefined })).warnings).toEqual([]);
    expect((await issue({ previous_key_id: 7 })).warnings).toEqual([]);
  });

  test('is stored with the expiry of its description if the key contains none', async () => {
    const { credential, warnings } = await issue({ api_key: v2Key('key-2') });
    expect(credential.expiresAt).toBe(NOW + 20 * DAY);
    expect(warnings).toEqual([]);
  });

  test('is stored with a warning if its key never expires', async () => {
    const changes = { api_key: v2Key('key-2'), key_info: undefined };
    const { credential, warnings } = await issue(changes);
    expect(credential.expiresAt).toBe(Infinity);
    expect(warnings).toContainEqual(expect.stringContaining('never expires'));
    const consoleJson = { apiKey: V2.api_key, refreshToken: V2.refresh_token, validUntil };
    expect((await issue(changes, consoleJson)).credential.expiresAt).toBe(Infinity);
  });

  test.each<[string, object, string]>([
    ['no key', { api_key: undefined }, "'api_key' is missing"],
    ['null in its place', { api_key: null }, "'api_key' isn't a string"],
    ['a v1 key', { api_key: v1Key(SECRET) }, "'api_key' isn't a v2 key"],
    ['another text', { api_key: SECRET }, "'api_key' isn't a v2 key"],
    ['an expired key', { api_key: v2Key('key-2', NOW - DAY) }, 'already expired'],
    ['a key that is too long', { api_key: `${V2.api_key}${'x'.repeat(66_000)}` }, 'bytes long'],
  ])('is final and unusable with %s', async (_name, changes, problem) => {
    const error = (await issue(changes).catch((thrown: unknown) => thrown)) as RotationError;
    const expected = { code: 'ISSUED_CREDENTIAL_INVALID', retryable: false, outcomeUnknown: true };
    expect(error).toMatchObject(expected);
    expect(error.problem).toContain(problem);
    expect(error.message).not.toContain(SECRET.slice(0, 7));
  });
});

describe('a refused refresh', () => {
  const soon = NOW + 10 * DAY;
  const refusal = (
    payload: object,
    error: RotationError,
    context: { answerLost: boolean; now: number },
  ) => {
    const api = { refresh: () => Promise.reject(error) };
    const services = { sdk: new Sdk(systemClock, undefined), api, now: () => NOW };
    return refresh(secretName(NAME), parse(payload), services).refusal(error, context);
  };
  const status = (code: number) => new RefreshRefused(`HTTP ${code}`, `Reason of ${code}.`);
  const sdkCode = new RefreshRefused('AUTHENTICATION_ERROR', 'Reason.');

  test.each<[string, string, object, RotationError, boolean, number, string]>([
    ['a used v2 token', 'REFRESH_REFUSED', V2, status(403), false, NOW, 'Reason of 403.'],
    ['a lost v2 answer', 'REFRESH_ANSWER_LOST', V2, status(403), true, NOW, "can't be recovered"],
    ['a revoked v2 key', 'REFRESH_REFUSED', V2, status(401), false, NOW, '401). Reason of 401.'],
    ['that after a lost answer', 'REFRESH_REFUSED', V2, status(401), true, NOW, 'HTTP 401'],
    ['an expired v2 key', 'KEY_EXPIRED', V2, status(401), false, soon, '2026-11-11T00:00:00.000Z'],
    ['that after a lost answer', 'KEY_EXPIRED', V2, status(403), true, soon, 'expired at'],
    ['a v1 key', 'REFRESH_REFUSED', V1, sdkCode, false, NOW, '(AUTHENTICATION_ERROR). Reason.'],
    ['a lost v1 answer', 'REFRESH_ANSWER_LOST', V1, sdkCode, true, NOW, 'probably used'],
    ['an expired v1 key', 'KEY_EXPIRED', V1, sdkCode, false, soon, 'expired at'],
  ])('of %s fails with %s', (_name, code, payload, error, answerLost, now, text) => {
    const refused = refusal(payload, error, { answerLost, now });
    expect(refused.code).toBe(code);
    expect(refused.problem).toContain(text);
    expect(refused.action).toContain(`store it as a new version of ${NAME}`);
    const mint =
      payload === V2 ? 'set MANAGEMENT_KEY, so' : "set MANAGEMENT_KEY and the secret's 'role'";
    expect(refused.action).toContain(mint);
  });

  test('is unchanged if the refresh path is unknown', () => {
    const error = new RotationError('REFRESH_PATH_UNKNOWN', { problem: 'No.', action: 'Act.' });
    expect(refusal(V2, error, { answerLost: true, now: NOW })).toBe(error);
  });
});
