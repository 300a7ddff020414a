import type { Permission } from '../../../src/rotation/ports';
import { inTurn, NOW, version } from '../support';
import { error, key, NOT_DUE, ownKey, scene, SECRET, STORE_REFUSES, type Plan } from './scene';

const VERSIONS = [version(1, 'DISABLED'), version(2), version(3), version(4)];
const KEYS = { ownKeys: inTurn(['k1', 'k2', 'k4', 'orphan'].map((name) => ownKey(name))) };

test.each<[string, Plan, object]>([
  [
    'would rotate',
    { policy: { destroyAfterMs: 0 } },
    {
      reason: 'would rotate: every run rotates',
      issuedBy: 'refresh',
      disabled: ['2', '3', '4'],
      destroyed: ['1'],
      revoked: [],
    },
  ],
  [
    'would not',
    { policy: { ...NOT_DUE, revoke: true }, session: KEYS },
    {
      reason: 'would not rotate: due at 2026-11-10T23:00:00.000Z',
      disabled: ['2', '3'],
      destroyed: [],
      revoked: ['k1', 'k2', 'orphan'],
    },
  ],
])('says that it %s, and neither writes, issues nor revokes', async (_name, plan, expected) => {
  const { run } = scene({ versions: VERSIONS, ...plan });
  const { result, status, calls } = await run({ dryRun: true });
  expect(status).toBe(200);
  expect(result).toEqual({
    secret: SECRET.name,
    outcome: 'dry_run',
    version: '4',
    keyId: 'k4',
    expiresAt: '2026-11-11T00:00:00.000Z',
    ...expected,
  });
  expect(calls).toEqual([]);
});

test('says that a first key would be minted', async () => {
  const { run } = scene({ versions: [], secret: { role: 'r' }, renewal: { by: 'mint' } });
  const { result, status } = await run({ dryRun: true });
  expect(status).toBe(200);
  expect(result).toEqual({
    secret: SECRET.name,
    outcome: 'dry_run',
    reason: 'would rotate: the secret is empty',
    issuedBy: 'mint',
    disabled: [],
    destroyed: [],
    revoked: [],
  });
});

test.each<[string, Plan, number, string]>([
  [
    'a missing permission',
    { store: { missingPermissions: inTurn<Permission[]>(['add']) } },
    403,
    'PERMISSION_MISSING',
  ],
  [
    'a key that cannot be renewed',
    { renewal: error('KEY_NOT_REFRESHABLE') },
    422,
    'KEY_NOT_REFRESHABLE',
  ],
  ['no list', { store: { list: inTurn<never>(STORE_REFUSES) } }, 502, 'SECRET_MANAGER_REFUSED'],
])('says what would stop a real one: %s', async (_name, plan, status, code) => {
  const { run } = scene({ versions: VERSIONS, ...plan });
  const report = await run({ dryRun: true });
  expect(report.status).toBe(status);
  expect(report.result).toMatchObject({ outcome: 'failed', error: { code } });
  expect(report.calls).toEqual([]);
});

test('says what would still be ended when there is no next key', async () => {
  const { run } = scene({ versions: VERSIONS, renewal: error('KEY_NOT_REFRESHABLE') });
  expect((await run({ dryRun: true })).result).toMatchObject({
    version: '4',
    disabled: ['2', '3'],
  });
});

test('leaves a key that waits where it is', async () => {
  const { run, pending } = scene();
  pending.keep(SECRET, { credential: key('waiting'), by: 'refresh', issuedAt: NOW, newest: 3 });
  const { result } = await run({ dryRun: true });
  expect(result).not.toHaveProperty('warnings');
  expect(pending.of(SECRET)).toBeDefined();
});
