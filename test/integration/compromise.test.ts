import { DAY, HOUR, MINUTE, SECOND } from '../../src/duration';
import type { Secret } from '../../src/rotation/ports';
import type { RotationResult } from '../../src/rotation/result';
import { leaks } from '../leaks';
import { PushBed, TOPIC } from './push-bed';
import { keyIn, TERMS, TestBed, type Setup } from './test-bed';

let bed: TestBed;
const started: PushBed[] = [];

beforeAll(async () => {
  bed = await TestBed.start();
});
afterAll(async () => {
  await bed.stop();
});
afterEach(async () => {
  expect(leaks(bed.secrets, [JSON.stringify(started.map(({ entries }) => entries))])).toEqual([]);
  await Promise.all(started.splice(0).map((push) => push.stop()));
  bed.expectSafe();
  bed.reset();
});

async function start(secrets: readonly Secret[], setup: Setup = {}): Promise<PushBed> {
  bed.clock.advance(SECOND);
  const push = await PushBed.start(bed, secrets, setup);
  started.push(push);
  return push;
}

/** A secret whose keys are minted, with a superseded version, and an orphaned key. */
async function mintedSecret(setup: Setup): Promise<Secret> {
  const secret = bed.emptySecret(TERMS);
  await bed.rotate(secret, setup);
  bed.clock.advance(HOUR);
  await bed.rotate(secret, { ...setup, policy: { gracePeriodMs: 30 * DAY } });
  bed.mintedKey(secret, MINUTE);
  bed.watch(secret);
  return secret;
}

function management(): { managementKey: ReturnType<TestBed['managementKey']> } {
  return { managementKey: bed.managementKey() };
}

async function respond(
  push: PushBed,
  request: object,
): Promise<{ status: number; result: RotationResult }> {
  const { status, body } = await push.post({ compromised: true, ...request });
  const [result] = body.results ?? [];
  if (result === undefined) throw new Error(JSON.stringify(body));
  return { status, result };
}

describe('minted keys', () => {
  test('every old key is revoked and rejected, and every old version is disabled', async () => {
    const setup = management();
    const secret = await mintedSecret(setup);
    const old = bed.liveKeys(secret);
    expect(old).toHaveLength(3);
    const push = await start([secret], setup);
    const { messageId, lines } = await push.request({
      secrets: [secret.id],
      compromised: true,
      reason: 'INC-42',
    });
    expect(push.pubsub.answersTo(messageId)).toEqual([200]);
    expect(lines).toMatchObject([
      {
        outcome: 'rotated',
        contained: true,
        reason: 'INC-42',
        severity: 'INFO',
        disabled: ['1', '2'],
        compromisedKeys: old.map(() => ({ rejectedAt: expect.any(String) as string })),
      },
    ]);
    expect(bed.liveKeys(secret)).toEqual([bed.keyOf(secret).info.key_id]);
    expect(bed.states(secret)).toEqual(['DISABLED', 'DISABLED', 'ENABLED']);
  });

  test('a redelivery after the add issues no other key, and ends the response', async () => {
    const setup = management();
    const secret = await mintedSecret(setup);
    const push = await start([secret], setup);
    bed.inject('RevokeKey', 'every', '503 before');
    const messageId = push.pubsub.publishRequest(TOPIC, {
      secrets: [secret.id],
      compromised: true,
    });
    await bed.clock.sleep(100 * SECOND);
    bed.endFaults();
    await push.pubsub.settled();
    expect(push.linesOf(messageId)).toMatchObject([
      { outcome: 'incomplete', contained: false, severity: 'CRITICAL' },
      { outcome: 'already_rotated', contained: true },
    ]);
    expect(bed.states(secret)).toEqual(['DISABLED', 'DISABLED', 'ENABLED']);
    expect(bed.liveKeys(secret)).toHaveLength(1);
  });

  test('nothing is revoked or disabled when Momento rejects the new key', async () => {
    const setup = management();
    const secret = await mintedSecret({ ...setup });
    const old = bed.liveKeys(secret);
    bed.keyApi.newKeyRejections = 1000;
    const push = await start([secret], setup);
    const { status, result } = await respond(push, { secrets: [secret.id] });
    expect(status).toBe(500);
    expect(result).toMatchObject({ outcome: 'failed', contained: false });
    expect(result.error?.code).toBe('NEW_KEY_REJECTED');
    expect(result.error?.message).toContain('These keys might still work');
    expect(bed.liveKeys(secret)).toEqual(old);
    expect(bed.states(secret)).toEqual(['ENABLED', 'ENABLED']);
  });

  test('it is not contained while Momento goes on accepting an old key', async () => {
    const setup = management();
    const secret = await mintedSecret(setup);
    const push = await start([secret], setup);
    // The revocation is answered, and has no effect.
    bed.intercept(({ method }, moment) =>
      method === 'RevokeKey' && moment === 'before'
        ? { kind: 'status', status: 404, when: 'before' }
        : undefined,
    );
    const { status, result } = await respond(push, { secrets: [secret.id] });
    expect(status).toBe(503);
    expect(result).toMatchObject({ outcome: 'incomplete', contained: false });
    expect(result.error?.code).toBe('NOT_CONTAINED_YET');
    expect(push.entries).toMatchObject([{ severity: 'CRITICAL' }]);
    // The next attempt must read these keys.
    expect(bed.states(secret)).toEqual(['ENABLED', 'ENABLED', 'ENABLED']);
  });

  test('a key that the newest version of another secret contains is left alone', async () => {
    const setup = management();
    const secret = await mintedSecret(setup);
    const other = bed.emptySecret(TERMS);
    bed.addVersion(other, bed.payload(secret));
    const shared = bed.keyOf(other).info.key_id;
    const push = await start([secret, other], setup);
    const { status, result } = await respond(push, { secrets: [secret.id] });
    expect(status).toBe(500);
    expect(result).toMatchObject({ contained: false, error: { code: 'NOT_CONTAINED' } });
    expect(result.compromisedKeys).toContainEqual(
      expect.objectContaining({ keyId: shared, expiresAt: expect.any(String) as string }),
    );
    // With both secrets in one request, nothing holds the key.
    const all = await push.post({ compromised: true, all: true });
    expect(all.body.results?.map(({ contained }) => contained)).toEqual([true, true]);
  });

  test('disabled versions are listed as not read', async () => {
    const setup = management();
    const secret = await mintedSecret(setup);
    bed.secretManager.setState(secret.name, '1', 'DISABLED');
    const push = await start([secret], setup);
    const { result } = await respond(push, { secrets: [secret.id] });
    expect(result).toMatchObject({ contained: true, notRead: ['1'], disabled: ['2'] });
    expect(bed.liveKeys(secret)).toHaveLength(1);
  });

  test('an old payload that is put back after the request does not count as the new key', async () => {
    const setup = management();
    const secret = await mintedSecret(setup);
    const push = await start([secret], setup);
    const since = new Date(bed.clock.now()).toISOString();
    bed.clock.advance(SECOND);
    bed.addVersion(secret, bed.payload(secret));
    const { result } = await respond(push, { secrets: [secret.id], since });
    expect(result).toMatchObject({ outcome: 'rotated', contained: true, version: '4' });
  });

  test('starts again when another process adds a compromised key meanwhile', async () => {
    const setup = management();
    const secret = await mintedSecret(setup);
    const old = bed.payload(secret);
    const push = await start([secret], setup);
    // Applications get a key that is about to be revoked until the response adds another one.
    bed.unwatch(secret);
    bed.when('after RevokeKey', () => bed.secretManager.addVersion(secret.name, old));
    const { result } = await respond(push, { secrets: [secret.id] });
    expect(result).toMatchObject({ contained: true, version: '5' });
    expect(bed.momento.accepts(keyIn(bed.payload(secret)))).toBe(true);
  });

  test('ends after three restarts when another process adds a compromised key each time', async () => {
    const setup = management();
    const secret = await mintedSecret(setup);
    const old = bed.payload(secret);
    const push = await start([secret], setup);
    bed.unwatch(secret);
    const added = () => bed.called.filter((method) => method === 'AddSecretVersion').length;
    const before = added();
    bed.intercept(({ method }, moment) => {
      if (moment === 'after' && method === 'AddSecretVersion') {
        bed.secretManager.addVersion(secret.name, old);
      }
    });
    const { status, result } = await respond(push, { secrets: [secret.id] });
    bed.endFaults();
    expect(status).toBe(503);
    expect(result).toMatchObject({ contained: false, error: { code: 'NOT_CONTAINED_YET' } });
    expect(added() - before).toBe(4);
  });

  test('revokes nothing when it is not known whether Momento accepts the new key', async () => {
    const setup = management();
    const secret = await mintedSecret(setup);
    const old = bed.liveKeys(secret);
    const push = await start([secret], setup);
    // The key API verifies a key by listing keys with it.
    bed.inject('ListKeys', 'every', '503 before');
    const { status, result } = await respond(push, { secrets: [secret.id] });
    bed.endFaults();
    expect(status).toBe(503);
    expect(result).toMatchObject({
      contained: false,
      version: '3',
      error: { code: 'VERIFY_INCONCLUSIVE' },
    });
    expect(bed.liveKeys(secret)).toEqual(expect.arrayContaining(old));
    expect(bed.states(secret)).toEqual(['ENABLED', 'ENABLED', 'ENABLED']);
  });

  test('is not contained when an enabled version cannot be read', async () => {
    const setup = management();
    const secret = await mintedSecret(setup);
    const push = await start([secret], setup);
    bed.secretManager.setKeyState(secret.name, '1', 'DISABLED');
    const { status, result } = await respond(push, { secrets: [secret.id] });
    expect(status).toBe(500);
    expect(result).toMatchObject({ contained: false, error: { code: 'NOT_CONTAINED' } });
    expect(result.error?.message).toContain('version 1');
  });

  test('is incomplete when an old version cannot be disabled', async () => {
    const setup = management();
    const secret = await mintedSecret(setup);
    const push = await start([secret], setup);
    bed.inject('DisableSecretVersion', 'every', 'UNAVAILABLE before');
    const { status, result } = await respond(push, { secrets: [secret.id] });
    bed.endFaults();
    expect(status).toBe(503);
    expect(result).toMatchObject({
      outcome: 'incomplete',
      error: { code: 'SECRET_MANAGER_UNAVAILABLE' },
    });
    expect(bed.liveKeys(secret)).toHaveLength(1);
  });

  test('revokes first when the request says so', async () => {
    const setup = management();
    const secret = await mintedSecret(setup);
    bed.unwatch(secret);
    const push = await start([secret], setup);
    const { result } = await respond(push, { secrets: [secret.id], revokeFirst: true });
    expect(result).toMatchObject({ outcome: 'rotated', contained: true });
    const called = bed.called;
    expect(called.lastIndexOf('CreateKey')).toBeGreaterThan(called.indexOf('RevokeKey'));
    expect(bed.liveKeys(secret)).toHaveLength(1);
  });
});

describe('the management key', () => {
  test('is replaced, and the new one revokes the old one', async () => {
    const name = bed.managementKey();
    const secret: Secret = { ...name, payload: 'json' };
    const old = bed.keyOf(secret).info.key_id;
    const push = await start([secret], { managementKey: name });
    const { status, result } = await respond(push, { secrets: [secret.id] });
    expect([status, result.error]).toEqual([200, undefined]);
    expect(result).toMatchObject({ contained: true, revoked: [old] });
    expect(bed.keyOf(secret).info.key_id).not.toBe(old);
  });

  test('is replaced before the keys of other secrets of the request', async () => {
    const name = bed.managementKey();
    const setup = { managementKey: name };
    const manager: Secret = { ...name, payload: 'json' };
    const secret = await mintedSecret(setup);
    const push = await start([secret, manager], setup);
    const { body } = await push.post({ compromised: true, all: true });
    expect(body.results).toMatchObject([
      { secret: secret.name, contained: true },
      { secret: manager.name, contained: true },
    ]);
  });
});

describe('keys that cannot be revoked', () => {
  test('a v1 key is replaced, and listed with its expiry', async () => {
    const { secret, key } = bed.seed();
    const push = await start([secret]);
    const { messageId, lines } = await push.request({ secrets: [secret.id], compromised: true });
    expect(push.pubsub.answersTo(messageId)).toEqual([200]);
    expect(lines).toMatchObject([
      {
        severity: 'CRITICAL',
        contained: false,
        error: { code: 'NOT_CONTAINED' },
        compromisedKeys: [{ expiresAt: new Date(key.validUntil * 1000).toISOString() }],
      },
    ]);
    // A repeat must read the key, because it still works.
    expect(bed.states(secret)).toEqual(['ENABLED', 'ENABLED']);
    const since = new Date(bed.clock.now() - MINUTE).toISOString();
    const { status, result } = await respond(push, { secrets: [secret.id], since });
    expect([status, result.outcome, result.contained]).toEqual([500, 'incomplete', false]);
  });

  test('a v2 key without a management key is refreshed, and listed with its expiry', async () => {
    const secret = bed.seedV2();
    bed.watch(secret);
    const old = bed.keyOf(secret).info.key_id;
    const push = await start([secret]);
    const { status, result } = await respond(push, { secrets: [secret.id] });
    expect(status).toBe(500);
    expect(result.compromisedKeys).toMatchObject([
      { keyId: old, expiresAt: expect.any(String) as string },
    ]);
  });

  test('when Momento is down, the message is delivered again and names the keys that still work', async () => {
    const { secret } = bed.seed();
    const push = await start([secret]);
    bed.inject('RefreshApiToken', 'every', 'UNAVAILABLE before');
    const messageId = push.pubsub.publishRequest(TOPIC, {
      secrets: [secret.id],
      compromised: true,
    });
    await bed.clock.sleep(30 * SECOND);
    bed.endFaults();
    await push.pubsub.settled();
    const [first] = push.linesOf(messageId);
    expect(first).toBeDefined();
    expect(push.pubsub.answersTo(messageId).at(-1)).toBe(200);
  });
});

describe('a running rotation', () => {
  test('is waited for and never joined', async () => {
    const setup = management();
    const secret = await mintedSecret(setup);
    const push = await start([secret], setup);
    const [rotation, response] = await Promise.all([
      push.post({}),
      push.post({ compromised: true, secrets: [secret.id] }),
    ]);
    expect(rotation.body.results).toMatchObject([{ outcome: 'rotated', version: '3' }]);
    expect(response.body.results).toMatchObject([
      { outcome: 'rotated', version: '4', contained: true },
    ]);
  });
});
