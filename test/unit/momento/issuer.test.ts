import { RotationError } from '../../../src/errors';
import type { KeyInfo } from '../../../src/momento/answers';
import { Sdk } from '../../../src/momento/sdk';
import { MomentoSession, type SessionOptions } from '../../../src/momento/session';
import type { Credential, Renewal, Secret } from '../../../src/rotation/ports';
import { DAY, inTurn, NOW, secretName, v1Key, version } from '../support';
import { inSeconds, keyInfo, parse, SECRET, v2Key } from './support';

const MANAGEMENT_KEY = v2Key('management', NOW + DAY);
const S: Secret = {
  ...secretName('projects/p/secrets/s'),
  payload: 'json',
  role: 'r-set',
  lifetimeMs: DAY,
};
const OURS = 'momento-key-rotator projects/p/secrets/s';

/** A key API that notes what it is asked, and with which key. */
function keyApi(changes: Partial<SessionOptions['api']> = {}) {
  const calls: string[] = [];
  const note =
    <T>(name: string, answer: T) =>
    (...args: unknown[]) => {
      calls.push([name, ...args].join(' '));
      return Promise.resolve(answer);
    };
  const api: SessionOptions['api'] = {
    list: note('list', [] as KeyInfo[]),
    mint: note('mint', undefined as never),
    refresh: note('refresh', undefined as never),
    revoke: note('revoke', true),
    verify: note('verify', 'accepted' as const),
    close: () => void calls.push('close'),
    ...changes,
  };
  return { api, calls };
}

function session(
  managementKey: SessionOptions['managementKey'] = () =>
    Promise.resolve(Buffer.from(MANAGEMENT_KEY)),
  options: Partial<SessionOptions> = {},
): MomentoSession {
  return new MomentoSession({
    sdk: new Sdk(undefined),
    api: keyApi().api,
    endpoint: undefined,
    now: () => NOW,
    managementKey,
    ...options,
  });
}

const read = (payload: string | object) => () =>
  Promise.resolve(Buffer.from(typeof payload === 'string' ? payload : JSON.stringify(payload)));

describe('the management key', () => {
  const unavailable = new RotationError('SECRET_MANAGER_UNAVAILABLE', 'down');
  const of = (apiKey: string) => ({ apiKey, validUntil: inSeconds(NOW + DAY) });

  test.each<[string, () => Promise<Uint8Array>]>([
    ['a bare key', read(`${MANAGEMENT_KEY}\n`)],
    ['console JSON', read(of(MANAGEMENT_KEY))],
    ['API JSON', read({ api_key: MANAGEMENT_KEY, key_info: keyInfo({ key_id: 'management' }) })],
    ['a key that never expires', read(v2Key('management'))],
  ])('%s', async (_name, payload) => {
    const { api, calls } = keyApi();
    const open = session(payload, { api });
    expect(await open.renewal(S, undefined)).toMatchObject({ by: 'mint' });
    await open.revoke('key-1');
    expect(calls[0]).toMatch(/^revoke eyJ.* key-1 $/);
  });

  test.each<[string, () => Promise<Uint8Array>, string, string]>([
    ['a v1 key', read(of(v1Key(SECRET))), 'MANAGEMENT_KEY_INVALID', 'no v2 key'],
    ['an expired key', read(v2Key('k', NOW)), 'MANAGEMENT_KEY_INVALID', 'it expired at 2026-11-01'],
    ['no key', read(SECRET), 'MANAGEMENT_KEY_INVALID', 'neither JSON nor a Momento API key'],
    ['nothing', read(''), 'MANAGEMENT_KEY_INVALID', 'it is empty'],
    [
      'what cannot be read',
      () => Promise.reject(unavailable),
      'SECRET_MANAGER_UNAVAILABLE',
      'down',
    ],
    ['a fault', () => Promise.reject(new TypeError(SECRET)), 'INTERNAL', 'TypeError'],
  ])('%s: in the way of those who need it', async (_name, payload, code, text) => {
    const open = session(payload);
    const obstacle = (await open.renewal(S, undefined)) as RotationError;
    expect(obstacle).toMatchObject({ code, message: expect.stringContaining(text) as string });
    expect(obstacle.message).not.toContain(SECRET.slice(0, 7));
    await expect(open.revoke('key-1')).rejects.toMatchObject({ code });
    await expect(open.ownKeys(S)).rejects.toMatchObject({ code });
    const v1 = { apiKey: v1Key(SECRET), refreshToken: 'token', validUntil: inSeconds(NOW + DAY) };
    const current = { version: version(4), credential: parse(v1) };
    expect(await open.renewal({ ...secretName(S.name), payload: 'json' }, current)).toMatchObject({
      by: 'refresh',
    });
  });

  test('is read once', async () => {
    let reads = 0;
    const open = session(() => {
      reads += 1;
      return Promise.resolve(Buffer.from(MANAGEMENT_KEY));
    });
    open.prepare();
    expect(reads).toBe(1);
    await Promise.all([open.renewal(S, undefined), open.ownKeys(S)]);
    expect(reads).toBe(1);
  });

  test('is not waited for by who does without', async () => {
    const open = session(() => new Promise(() => undefined));
    const v1 = { apiKey: v1Key(SECRET), refreshToken: 'token', validUntil: inSeconds(NOW + DAY) };
    const secret = { ...secretName(S.name), payload: 'json' } as const;
    const current = { version: version(4), credential: parse(v1) };
    open.prepare();
    expect(await open.renewal(secret, current)).toMatchObject({ by: 'refresh' });
  });

  test('is gone after the end', async () => {
    const { api, calls } = keyApi();
    const open = session(undefined, { api });
    const late = (await open.renewal(S, undefined)) as Renewal;
    open.close();
    expect(calls).toEqual(['close']);
    await expect(late.issue()).rejects.toThrow();
    expect(calls[1]).toMatch(/^mint {2}\S/);
    await open.revoke('key-1');
    expect(calls[2]).toMatch(/^revoke {2}key-1/);
  });
});

describe('our keys', () => {
  const listed = [
    keyInfo({ key_id: 'ours', description: OURS }),
    keyInfo({ key_id: 'for ever', description: OURS, expires_at_epoch_seconds: null }),
    keyInfo({ key_id: 'expired', description: OURS, expires_at_epoch_seconds: inSeconds(NOW) }),
    keyInfo({ key_id: 'management', description: OURS }),
    keyInfo({ key_id: 'of another', description: `${OURS}2` }),
    keyInfo({ key_id: 'of a person', description: `${OURS} ` }),
    keyInfo({ key_id: 'in other letters', description: OURS.toUpperCase() }),
    keyInfo({ key_id: 'without', description: null }),
  ] as KeyInfo[];

  test('have not ended, carry our description, and are not in use to manage keys', async () => {
    const open = session(undefined, keyApi({ list: inTurn(listed) }));
    expect(await open.ownKeys(S)).toEqual([
      { keyId: 'ours', issuedAt: NOW },
      { keyId: 'for ever', issuedAt: NOW },
    ]);
  });

  test('are asked for once, by however many; after a failure, again', async () => {
    let lists = 0;
    const answers = inTurn<KeyInfo[]>(new RotationError('MOMENTO_UNAVAILABLE', 'down'), listed);
    const list = () => {
      lists += 1;
      return answers();
    };
    const open = session(undefined, keyApi({ list }));
    const first = await Promise.allSettled([open.ownKeys(S), open.ownKeys(S)]);
    expect(first.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    expect(lists).toBe(1);
    await Promise.all([open.ownKeys(S), open.ownKeys(S)]);
    await open.ownKeys(S);
    expect(lists).toBe(2);
  });
});

describe('a look at a key that names no endpoint', () => {
  const key = parse(v2Key('key-1', NOW + DAY));

  test('is left to the key API', async () => {
    const { api, calls } = keyApi();
    expect(await session(undefined, { api }).verify(key)).toBe('accepted');
    expect(calls).toEqual([`verify ${key.apiKey}`]);
  });

  test('says nothing of the key when the call fails', async () => {
    const verify = () => Promise.reject(new RotationError('MOMENTO_UNAVAILABLE', 'down'));
    expect(await session(undefined, keyApi({ verify })).verify(key)).toBe('unclear');
  });

  test('does not hide a fault of our own', async () => {
    const verify = () => Promise.reject(new TypeError('a fault'));
    await expect(session(undefined, keyApi({ verify })).verify(key)).rejects.toThrow('a fault');
    await expect(session().verify({} as Credential)).rejects.toThrow(TypeError);
  });
});
