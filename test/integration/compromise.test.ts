/** Compromise responses, by HTTP requests and by messages. */
import { DAY, HOUR, MINUTE, SECOND } from '../../src/duration';
import { descriptionOf } from '../../src/momento/mint';
import type { Secret } from '../../src/rotation/ports';
import type { RotationResult } from '../../src/rotation/result';
import type { HttpRequest } from '../../emulators/http-host';
import { leaks } from '../leaks';
import { DEAD_LETTERS, PushBed, TOPIC } from './push-bed';
import { keyIn, TERMS, TestBed } from './test-bed';

let bed: TestBed;
const started: PushBed[] = [];

beforeAll(async () => {
  bed = await TestBed.start();
});
afterAll(() => bed.stop());
afterEach(async () => {
  expect(leaks(bed.secrets, [JSON.stringify(started.map(({ entries }) => entries))])).toEqual([]);
  await Promise.all(started.splice(0).map((push) => push.stop()));
  bed.expectSafe();
  bed.reset();
});

type Started = Parameters<typeof PushBed.start>;

async function start(secrets: readonly Secret[], setup?: Started[2]): Promise<PushBed> {
  // The versions are older than the messages.
  bed.clock.advance(SECOND);
  const push = await PushBed.start(bed, secrets, setup);
  started.push(push);
  return push;
}

/** A secret whose keys are minted, with a superseded version and an orphaned key. */
async function minted(
  managementKey = bed.managementKey(),
  more: (secret: Secret) => readonly Secret[] = () => [],
) {
  const setup = { managementKey };
  const secret = bed.emptySecret(TERMS);
  await bed.rotate(secret, setup);
  bed.clock.advance(HOUR);
  await bed.rotate(secret, { ...setup, policy: { gracePeriodMs: 30 * DAY } });
  bed.mintedKey(secret, MINUTE);
  bed.watch(secret);
  const push = await start([secret, ...more(secret)], setup);
  const respond = (request: object = {}) => responseOf(push, secret, request);
  return { secret, push, respond, old: bed.liveKeys(secret), payload: bed.payload(secret) };
}

async function responseOf(push: PushBed, { id }: Secret, request: object = {}) {
  const { status, body } = await push.post({ compromised: true, secrets: [id], ...request });
  const [result] = body.results ?? [];
  if (result === undefined) throw new Error(JSON.stringify(body));
  return { status, code: result.error?.code, message: result.error?.message, ...result };
}

const contained = { contained: true } satisfies Partial<RotationResult>;

describe('a response for minted keys', () => {
  it('revokes every old key, and disables every old version', async () => {
    const { secret, push, old } = await minted();
    const { messageId, lines } = await push.request({
      secrets: [secret.id],
      compromised: true,
      reason: 'INC-42',
    });
    expect(push.pubsub.answersTo(messageId)).toEqual([200]);
    expect(old).toHaveLength(3);
    const rejected = old.map(() => ({ rejectedAt: expect.any(String) as string }));
    const line = { outcome: 'rotated', reason: 'INC-42', severity: 'INFO', disabled: ['1', '2'] };
    expect(lines).toMatchObject([{ ...line, ...contained, compromisedKeys: rejected }]);
    expect(bed.liveKeys(secret)).toEqual([bed.keyOf(secret).info.key_id]);
    expect(bed.states(secret)).toEqual(['DISABLED', 'DISABLED', 'ENABLED']);
  });

  it('changes nothing old when Momento rejects the new key', async () => {
    const { secret, respond, old } = await minted();
    bed.keyApi.newKeyRejections = 1000;
    const { message, ...response } = await respond();
    expect(response).toMatchObject({ status: 500, contained: false, code: 'NEW_KEY_REJECTED' });
    expect(message).toContain('These keys might still work');
    expect(bed.liveKeys(secret)).toEqual(old);
    expect(bed.states(secret)).toEqual(['ENABLED', 'ENABLED']);
  });

  it('changes nothing old when it is unknown whether Momento accepts the new key', async () => {
    const { secret, respond, old } = await minted();
    // The key API verifies a key by listing keys with it.
    bed.inject('ListKeys', 'every', '503 before');
    const inconclusive = { status: 503, contained: false, code: 'VERIFY_INCONCLUSIVE' };
    expect(await respond()).toMatchObject({ ...inconclusive, version: '3' });
    expect(bed.liveKeys(secret)).toEqual(expect.arrayContaining(old));
    expect(bed.states(secret)).toEqual(['ENABLED', 'ENABLED', 'ENABLED']);
  });

  it("isn't contained while Momento accepts an old key, and leaves its version readable", async () => {
    const { secret, push, respond } = await minted();
    // The revocation is answered, and has no effect.
    bed.inject('RevokeKey', 'every', '404 before');
    const notYet = { status: 503, contained: false, code: 'NOT_CONTAINED_YET' };
    expect(await respond()).toMatchObject({ ...notYet, outcome: 'incomplete' });
    expect(push.entries).toMatchObject([{ severity: 'CRITICAL' }]);
    // The next attempt must read these keys.
    expect(bed.states(secret)).toEqual(['ENABLED', 'ENABLED', 'ENABLED']);
  });

  it("doesn't revoke a key in the newest version of another secret, unless that is named too", async () => {
    const other = bed.emptySecret(TERMS);
    const { push, respond } = await minted(undefined, (secret) => {
      bed.addVersion(other, bed.payload(secret));
      return [other];
    });
    const keyId = bed.keyOf(other).info.key_id;
    const { compromisedKeys, ...response } = await respond();
    expect(response).toMatchObject({ status: 500, contained: false, code: 'NOT_CONTAINED' });
    const expiresAt = expect.any(String) as string;
    expect(compromisedKeys).toContainEqual(expect.objectContaining({ keyId, expiresAt }));
    const all = await push.post({ compromised: true, all: true });
    expect(all.body.results).toMatchObject([contained, contained]);
  });

  it("lists disabled versions as not read, because their keys can't be read", async () => {
    const { secret, respond } = await minted();
    bed.secretManager.setState(secret.name, '1', 'DISABLED');
    expect(await respond()).toMatchObject({ ...contained, notRead: ['1'], disabled: ['2'] });
    expect(bed.liveKeys(secret)).toHaveLength(1);
  });

  it("isn't contained when an enabled version can't be read", async () => {
    const { secret, respond } = await minted();
    bed.secretManager.setKeyState(secret.name, '1', 'DISABLED');
    const { message, ...response } = await respond();
    expect(response).toMatchObject({ status: 500, contained: false, code: 'NOT_CONTAINED' });
    expect(message).toContain('version 1');
  });

  it("is incomplete when an old version can't be disabled", async () => {
    const { secret, respond } = await minted();
    bed.inject('DisableSecretVersion', 'every', 'UNAVAILABLE before');
    const incomplete = { outcome: 'incomplete', code: 'SECRET_MANAGER_UNAVAILABLE' };
    expect(await respond()).toMatchObject({ ...incomplete, status: 503 });
    expect(bed.liveKeys(secret)).toHaveLength(1);
  });

  it('issues a new key when an old payload was stored again since the request', async () => {
    const { secret, respond, payload } = await minted();
    const since = new Date(bed.clock.now()).toISOString();
    bed.clock.advance(SECOND);
    bed.addVersion(secret, payload);
    const rotated = { outcome: 'rotated', version: '4' };
    expect(await respond({ since })).toMatchObject({ ...contained, ...rotated });
  });

  it('starts again when another process adds a compromised key meanwhile', async () => {
    const { secret, respond, payload } = await minted();
    // Applications get a key that is about to be revoked until the response adds another one.
    bed.unwatch(secret);
    bed.when('after RevokeKey', () => void bed.secretManager.addVersion(secret.name, payload));
    expect(await respond()).toMatchObject({ ...contained, version: '5' });
    expect(bed.momento.accepts(keyIn(bed.payload(secret)))).toBe(true);
  });

  it('ends after three restarts when another process adds a compromised key each time', async () => {
    const { secret, respond, payload } = await minted();
    bed.unwatch(secret);
    const before = bed.timesCalled('AddSecretVersion');
    bed.intercept(({ method }, moment) => {
      if (`${moment} ${method}` === 'after AddSecretVersion') {
        bed.secretManager.addVersion(secret.name, payload);
      }
    });
    const notYet = { status: 503, contained: false, code: 'NOT_CONTAINED_YET' };
    expect(await respond()).toMatchObject(notYet);
    expect(bed.timesCalled('AddSecretVersion') - before).toBe(4);
  });

  it('revokes first when the request asks for it', async () => {
    const { secret, respond } = await minted();
    bed.unwatch(secret);
    const rotated = { ...contained, outcome: 'rotated' };
    expect(await respond({ revokeFirst: true })).toMatchObject(rotated);
    expect(bed.called.lastIndexOf('CreateKey')).toBeGreaterThan(bed.called.indexOf('RevokeKey'));
    expect(bed.liveKeys(secret)).toHaveLength(1);
  });

  it.each([
    ['the keys of a secret are refreshed', () => bed.seed().secret, "aren't minted"],
    [
      'only the list of keys shows the terms',
      () => bed.seedV2({ payload: 'key' }, { lifetimeSeconds: 3600 }, 'apiKey'),
      'The role or the lifetime',
    ],
  ])('refuses to revoke first when %s', async (_when, other, problem) => {
    const { push, old, secret } = await minted(undefined, () => [other()]);
    const { status, body } = await push.post({ compromised: true, all: true, revokeFirst: true });
    expect([status, JSON.stringify(body)]).toEqual([400, expect.stringContaining(problem)]);
    expect(bed.liveKeys(secret)).toEqual(old);
  });

  it('calls the key API before rotations that wait for the rate limiter', async () => {
    const others = Array.from({ length: 12 }, () => bed.emptySecret(TERMS));
    const { secret, respond, push } = await minted(undefined, () => others);
    const before = bed.timesCalled('CreateKey');
    let response: Promise<unknown> = Promise.resolve();
    bed.when('after CreateKey', () => {
      response = respond();
    });
    await push.post({ secrets: others.map(({ id }) => id) });
    await response;
    const descriptions = bed.keyApi.faults.calls
      .filter(({ method }) => method === 'CreateKey')
      .slice(before)
      .map(({ request }) => ((request as HttpRequest).body as { description: string }).description);
    expect(descriptions).toHaveLength(others.length + 1);
    expect(descriptions.indexOf(descriptionOf(secret))).toBeLessThan(others.length);
  });

  it("waits for a running rotation, and doesn't join it", async () => {
    const { push, respond } = await minted();
    const [rotation, response] = await Promise.all([push.post({}), respond()]);
    expect(rotation.body.results).toMatchObject([{ outcome: 'rotated', version: '3' }]);
    expect(response).toMatchObject({ ...contained, outcome: 'rotated', version: '4' });
  });
});

describe('a response for the management key', () => {
  it('replaces it, and revokes the old one with the new one', async () => {
    const managementKey = bed.managementKey();
    const secret: Secret = { ...managementKey, payload: 'json' };
    const old = bed.keyOf(secret).info.key_id;
    const push = await start([secret], { managementKey });
    const response = await responseOf(push, secret);
    expect(response).toMatchObject({ ...contained, status: 200, revoked: [old] });
    expect(bed.keyOf(secret).info.key_id).not.toBe(old);
  });

  it('replaces it before the keys of other secrets', async () => {
    const managementKey = bed.managementKey();
    const { push } = await minted(managementKey, () => [{ ...managementKey, payload: 'json' }]);
    const { body } = await push.post({ compromised: true, all: true });
    expect(body.results).toMatchObject([contained, contained]);
  });
});

describe("a response for keys that can't be revoked", () => {
  it('replaces a v1 key, and lists its expiry', async () => {
    const { secret, key } = bed.seed();
    const push = await start([secret]);
    const { messageId, lines } = await push.request({ secrets: [secret.id], compromised: true });
    expect(push.pubsub.answersTo(messageId)).toEqual([200]);
    const expiresAt = new Date(key.validUntil * 1000).toISOString();
    const line = { severity: 'CRITICAL', contained: false, error: { code: 'NOT_CONTAINED' } };
    expect(lines).toMatchObject([{ ...line, disabled: ['1'], compromisedKeys: [{ expiresAt }] }]);
  });

  it("isn't contained when it is repeated, although the old version can't be read any more", async () => {
    const { secret } = bed.seed();
    const push = await start([secret]);
    const since = new Date(bed.clock.now()).toISOString();
    const answers = [await responseOf(push, secret, { since })];
    answers.push(await responseOf(push, secret, { since }));
    const outcome = { status: 500, code: 'NOT_CONTAINED', contained: false, version: '2' };
    expect(answers).toMatchObject([outcome, { ...outcome, notRead: ['1'] }]);
  });

  it('keeps a version with a v1 key enabled after the first mint, so that a repeat finds the key', async () => {
    const setup = { managementKey: bed.managementKey() };
    const secret = bed.emptySecret(TERMS);
    bed.addVersion(secret, bed.momento.issueKey().consoleJson);
    const push = await start([secret], setup);
    const since = new Date(bed.clock.now()).toISOString();
    for (let attempt = 0; attempt < 2; attempt += 1) {
      const { status, contained } = await responseOf(push, secret, { since });
      expect([status, contained]).toEqual([500, false]);
    }
    expect(bed.states(secret)).toEqual(['ENABLED', 'ENABLED']);
  });

  it('replaces a key that was stored again from a disabled version since the request', async () => {
    const setup = { managementKey: bed.managementKey() };
    const secret = bed.emptySecret(TERMS);
    await bed.rotate(secret, setup);
    const old = bed.payload(secret);
    bed.secretManager.setState(secret.name, '1', 'DISABLED');
    bed.clock.advance(HOUR);
    const push = await start([secret], setup);
    const since = new Date(bed.clock.now()).toISOString();
    bed.clock.advance(SECOND);
    bed.addVersion(secret, old);
    bed.secretManager.setState(secret.name, '2', 'ENABLED');
    expect(await responseOf(push, secret, { since })).toMatchObject({
      contained: true,
      version: '3',
      outcome: 'rotated',
    });
  });

  it('refreshes a v2 key without a management key, and lists its expiry', async () => {
    const secret = bed.seedV2();
    const keyId = bed.keyOf(secret).info.key_id;
    const { status, compromisedKeys } = await responseOf(await start([secret]), secret);
    expect(status).toBe(500);
    expect(compromisedKeys).toMatchObject([{ keyId, expiresAt: expect.any(String) as string }]);
  });
});

describe('a message', () => {
  it.each([
    ['v1', ['RefreshApiToken', 'ListCaches']],
    ['minted', ['CreateKey', 'ListKeys', 'RevokeKey']],
  ])(
    'is delivered again after an outage of Momento, and names the %s keys that still work',
    async (kind, methods) => {
      const seeded = kind === 'v1' ? bed.seed() : undefined;
      const { secret, push } = seeded
        ? { ...seeded, push: await start([seeded.secret]) }
        : await minted();
      const versions = bed.states(secret).length;
      for (const method of methods) bed.inject(method, 'every', 'UNAVAILABLE before');
      const request = { secrets: [secret.id], compromised: true };
      const messageId = push.pubsub.publishRequest(TOPIC, request);
      await bed.clock.sleep(200 * SECOND);
      bed.endFaults();
      await push.pubsub.settled();
      const answers = push.pubsub.answersTo(messageId);
      expect([answers[0], answers.at(-1)]).toEqual([503, 200]);
      const [first] = push.linesOf(messageId);
      expect(first).toMatchObject({ severity: 'CRITICAL', contained: false, outcome: 'failed' });
      const keys = first?.compromisedKeys as RotationResult['compromisedKeys'];
      const named = keys?.map(
        ({ keyId, fingerprint }, index) => `${keyId ?? fingerprint} in version ${index + 1}`,
      );
      expect(named).toHaveLength(versions);
      expect(first?.message).toContain(`These keys might still work: ${named?.join(', ')}.`);
      // The redelivery replaces them.
      expect(push.linesOf(messageId).at(-1)).toMatchObject({ version: String(versions + 1) });
    },
  );

  it('is delivered again after its key was added, and issues no other key', async () => {
    const { secret, push } = await minted();
    bed.inject('RevokeKey', 'every', '503 before');
    const request = { secrets: [secret.id], compromised: true };
    const messageId = push.pubsub.publishRequest(TOPIC, request);
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

  it('is delivered again with the same id after a rotation failed', async () => {
    const { secret } = bed.seed();
    const push = await start([secret]);
    bed.inject('RefreshApiToken', 'every', 'UNAVAILABLE before');
    const messageId = push.pubsub.publishRequest(TOPIC, { force: true });
    await bed.clock.sleep(200 * SECOND);
    bed.endFaults();
    await push.pubsub.settled();
    expect(push.pubsub.answersTo(messageId)).toEqual([503, 503, 200]);
    const outcomes = push.linesOf(messageId).map(({ outcome }) => outcome);
    expect(outcomes).toEqual(['failed', 'failed', 'rotated']);
  });

  it('goes to the dead-letter topic after the configured number of deliveries', async () => {
    const { secret } = bed.seed();
    const push = await start([secret], { maxDeliveryAttempts: 5 });
    bed.inject('RefreshApiToken', 'every', 'UNAVAILABLE before');
    const { messageId } = await push.request({ force: true });
    expect(push.pubsub.answersTo(messageId)).toEqual(Array(5).fill(503));
    expect(push.pubsub.messagesOf(DEAD_LETTERS)).toHaveLength(1);
  });
});
