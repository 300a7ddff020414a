import type { RenewalPolicy } from '../../../src/rotation/decide';
import type { Verdict } from '../../../src/rotation/ports';
import { HOUR, inTurn, MINUTE, NOW, SECOND, version } from '../support';
import {
  effects,
  error,
  key,
  NEW_KEY,
  NOT_DUE,
  ownKey,
  scene,
  STORE_REFUSES,
  type Plan,
} from './scene';

/** Version 3 was left enabled by an earlier run, and 2 has been disabled for long. */
const LEFT_OVER = [version(2, 'DISABLED'), version(3), version(4)];
const ENDS_ALL: Partial<RenewalPolicy> = { destroyAfterMs: 0, revoke: true };
const MINT: Plan['renewal'] = { by: 'mint' };

describe('add', () => {
  test('failed: a refreshed credential is kept, and the next run starts here', async () => {
    const { run } = scene({ versions: LEFT_OVER, addFails: [STORE_REFUSES], policy: NOT_DUE });
    const first = await run({ force: true });
    expect(first.status).toBe(503);
    expect(first.result).toMatchObject({
      outcome: 'failed',
      version: '4',
      error: { code: 'CREDENTIAL_NOT_STORED', step: 'add', retryable: true },
    });
    expect(effects(first.calls)).toEqual(['issue', 'add new']);

    const preview = await run({ dryRun: true });
    expect(preview.result.reason).toBe(
      'would rotate: an earlier run issued a key that is not stored yet',
    );

    const second = await run();
    expect(effects(second.calls)).toEqual(['add new', 'disable 3', 'disable 4']);
    expect(second.result).toMatchObject({ outcome: 'rotated', version: '5', previousVersion: '4' });
    expect((await run()).result.outcome).toBe('not_due');
  });

  test('failed, and what readers had was disabled since: the key heals the secret', async () => {
    const { run, versions } = scene({ versions: [version(4)], addFails: [STORE_REFUSES] });
    await run();
    versions.set(4, version(4, 'DISABLED'));
    expect((await run()).result).toMatchObject({ outcome: 'rotated', version: '5' });
  });

  test('failed, and somebody added a version since: theirs stands, and ours is dropped', async () => {
    const { run, versions, payloads } = scene({ addFails: [STORE_REFUSES], policy: NOT_DUE });
    await run({ force: true });
    versions.set(5, version(5));
    payloads.set(5, key('theirs').serialize());
    const { result, calls } = await run();
    expect(result).toMatchObject({ outcome: 'not_due', version: '5', keyId: 'theirs' });
    expect(result.warnings).toEqual([
      expect.stringContaining('was dropped, because version 5 was added since'),
    ]);
    expect(calls).not.toContain('issue');
  });

  test("failed: a minted key is left alone, the store's error is told, and the next run mints another", async () => {
    const session = { ownKeys: inTurn([ownKey('new', 0)]) };
    const plan = {
      versions: LEFT_OVER,
      renewal: MINT,
      session,
      policy: { revoke: true },
      addFails: [STORE_REFUSES],
    };
    const { run } = scene(plan);
    const { result, status, calls } = await run();
    expect(status).toBe(502);
    expect(result).toMatchObject({
      outcome: 'failed',
      version: '4',
      error: { code: STORE_REFUSES.code, step: 'add' },
    });
    expect(effects(calls)).toEqual(['issue', 'add new']);
    expect((await run()).calls).toContain('issue');
  });

  test('is tried again where there were no credentials for a moment', async () => {
    const { run } = scene({ addFails: [error('CREDENTIALS_UNAVAILABLE')] });
    expect((await run()).result).toMatchObject({ outcome: 'rotated', version: '5' });
  });

  test('of a minted key never comes later than 45 minutes after the minting', async () => {
    // As when the whole instance stood still for so long.
    const { run, clock } = scene({ renewal: MINT, session: { verify: () => late() } });
    const late = async (): Promise<Verdict> => {
      await clock.sleep(46 * MINUTE);
      return 'accepted';
    };
    const { result, calls } = await run({ deadline: NOW + HOUR - 15 * SECOND });
    expect(calls).not.toContain('add new');
    expect(result).toMatchObject({ outcome: 'failed', error: { step: 'add' } });
  });
});

test('retire failed: incomplete, and the next run goes on here', async () => {
  const disable = inTurn<boolean>(STORE_REFUSES, true);
  const { run } = scene({ store: { disable }, policy: NOT_DUE });
  const first = await run({ force: true });
  expect(first.status).toBe(503);
  expect(first.result).toMatchObject({
    outcome: 'incomplete',
    version: '5',
    error: { code: STORE_REFUSES.code, step: 'retire' },
  });
  expect(first.result.disabled).toEqual([]);
  const second = await run();
  expect(second.calls).toEqual(['verify new', 'disable 4']);
  expect(second.result).toMatchObject({ outcome: 'not_due', disabled: ['4'] });
});

test('the first key of an empty secret is minted, and nobody has seen it', async () => {
  const { run, latest } = scene({
    versions: [],
    renewal: MINT,
    secret: { role: 'r' },
    policy: ENDS_ALL,
    session: { ownKeys: inTurn([]) },
  });
  const { result, status } = await run();
  expect(status).toBe(200);
  expect(result).toEqual({
    secret: 'projects/p/secrets/s',
    outcome: 'rotated',
    reason: 'the secret is empty',
    version: '1',
    issuedBy: 'mint',
    keyId: 'new',
    expiresAt: '2026-12-01T00:00:00.000Z',
    verified: true,
  });
  expect(await latest()).toBe(NEW_KEY.keyId);
});
