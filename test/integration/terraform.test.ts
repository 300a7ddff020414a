/** The Terraform module and the function have to agree; this compares what each of them says. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { uploadedFiles } from '../../scripts/artifact';
import { Rotator } from '../../src/rotation/rotator';
import { MomentoKeys } from '../../src/momento/issuer';
import { systemClock as clock } from '../../src/clock';
import type { Permission } from '../../src/rotation/ports';
import type { RotationResult } from '../../src/rotation/result';
import { parseSecretName, type SecretName } from '../../src/secret-name';
import { iamName, permissionMissing, ROLES, VIEWER } from '../../src/secret-manager/errors';
import { SecretManagerStore } from '../../src/secret-manager/store';
import { MomentoEmulator } from '../emulators/momento';
import { SecretManagerEmulator } from '../emulators/secret-manager';
import { FunctionProcess } from '../function-process';
import { variablesRead } from './variables';

const root = resolve(__dirname, '../..');

/** A local value of the module that is an object of strings. */
function terraformMap(file: string, name: string): Record<string, string> {
  const text = readFileSync(resolve(root, 'terraform', file), 'utf8');
  const [, block = ''] = new RegExp(`^ *${name} += \\{\\n(.*?)^ *\\}`, 'ms').exec(text) ?? [];
  return Object.fromEntries(
    [...block.matchAll(/^ *"?([\w.]+)"? += (.*)$/gm)].map(([, key = '', value = '']) => [
      key,
      value.replaceAll(/^"|"$/g, ''),
    ]),
  );
}

const permissions = terraformMap('iam.tf', 'permissions');

/** What the roles grant, from https://cloud.google.com/secret-manager/docs/access-control. */
const GRANTED_BY: Readonly<Record<string, readonly string[]>> = {
  'roles/secretmanager.secretAccessor': ['secretmanager.versions.access'],
  'roles/secretmanager.secretVersionManager': [
    'add',
    'disable',
    'enable',
    'destroy',
    'get',
    'list',
  ].map((verb) => `secretmanager.versions.${verb}`),
};

const granted = [...new Set(Object.values(permissions))].flatMap((role) => GRANTED_BY[role] ?? []);

let secretManager: SecretManagerEmulator;
let momento: MomentoEmulator;
beforeAll(async () => {
  secretManager = await SecretManagerEmulator.start();
  momento = await MomentoEmulator.start();
});
afterAll(() => Promise.all([secretManager.stop(), momento.stop()]));

function seed(id: string): SecretName {
  const secret = parseSecretName(`projects/p/secrets/${id}`);
  if (secret === undefined) throw new Error('not a name');
  secretManager.createSecret(secret.name);
  for (const age of [3, 2, 1]) {
    const { consoleJson } = momento.issueKey();
    secretManager.addVersion(secret.name, consoleJson, { createTime: Date.now() - age * 60_000 });
  }
  secretManager.setState(secret.name, '1', 'DISABLED');
  return secret;
}

async function rotate(secret: SecretName): Promise<RotationResult | undefined> {
  const fleet = new Rotator({
    secrets: [],
    store: new SecretManagerStore({ emulator: secretManager.host, clock }),
    keys: new MomentoKeys({ emulator: momento.host, clock }),
    policy: { gracePeriodMs: 0, destroyAfterMs: 0, verify: true, revoke: false },
    clock,
  });
  const options = { force: false, dryRun: false, deadline: clock.monotonic() + 300_000 };
  const [report] = await fleet.rotate([{ ...secret, payload: 'json' }], options, () => undefined);
  return report?.result;
}

describe('the permissions that Terraform grants', () => {
  test('on a management key are the least that it takes', () => {
    expect(terraformMap('iam.tf', 'management_key_permissions')).toEqual({
      [iamName('access')]: ROLES.access,
      [iamName('list')]: VIEWER,
    });
    const secret = { name: 'projects/p/secrets/s', project: 'p', id: 's' };
    expect(permissionMissing(secret, ['list']).message).toContain(VIEWER);
    expect(permissionMissing(secret, ['list', 'add']).message).not.toContain(VIEWER);
  });

  test('are those that the function asks for, with the same roles', () => {
    const asked = Object.entries(ROLES).map(([permission, role]) => [
      iamName(permission as Permission),
      role,
    ]);
    expect(permissions).toEqual(Object.fromEntries(asked));
  });

  test('are enough to access, add, disable and destroy', async () => {
    const secret = seed('enough');
    secretManager.grant(secret.name, granted);
    expect(await rotate(secret)).toMatchObject({
      outcome: 'rotated',
      version: '4',
      disabled: ['2', '3'],
      destroyed: ['1'],
    });
  });

  test.each(Object.keys(permissions))(
    'are all needed: without %s nothing is spent',
    async (missing) => {
      const secret = seed(missing.replaceAll('.', '-'));
      secretManager.grant(
        secret.name,
        granted.filter((permission) => permission !== missing),
      );
      const keysBefore = momento.secrets().length;
      const { outcome, error } = (await rotate(secret)) ?? {};
      expect([outcome, error?.code]).toEqual(['failed', 'PERMISSION_MISSING']);
      expect(error?.message).toContain(missing);
      expect(error?.message).toContain(permissions[missing]);
      expect(momento.secrets()).toHaveLength(keysBefore);
      expect(secretManager.versions(secret.name)).toHaveLength(3);
    },
  );
});

test('Terraform sets only variables that the function reads', () => {
  const environment = [
    ...Object.keys(terraformMap('function.tf', 'settings')),
    'SECRETS',
    'GOOGLE_CLOUD_PROJECT',
  ];
  const local = ['SECRET_MANAGER', 'MOMENTO', 'MOMENTO_KEY_API'].map(
    (service) => `${service}_EMULATOR_HOST`,
  );
  expect([...environment, ...local].sort()).toEqual(variablesRead().sort());
});

test('the metrics read fields that the log line has', async () => {
  const good = seed('good');
  const bad = seed('bad');
  secretManager.grant(bad.name, []);
  const rotator = await FunctionProcess.start({
    env: {
      SECRETS: `${good.name},${bad.name}`,
      RENEW_BEFORE: '50%',
      SECRET_MANAGER_EMULATOR_HOST: secretManager.host,
      MOMENTO_EMULATOR_HOST: momento.host,
    },
  });
  try {
    await rotator.post({ force: true });
  } finally {
    await rotator.stop();
  }
  const lineOf = (outcome: string) => ({
    jsonPayload: rotator.logEntries.find((entry) => entry.outcome === outcome),
  });
  const fields = terraformMap('monitoring.tf', 'rotation_fields');
  const { error_code: errorCode = '', ...always } = fields;
  for (const field of Object.values(always)) expect(lineOf('rotated')).toHaveProperty(field);
  expect(lineOf('failed')).toHaveProperty(errorCode, 'PERMISSION_MISSING');
  expect(readFileSync(resolve(root, 'terraform/monitoring.tf'), 'utf8')).toContain(
    `jsonPayload.event=\\"${String(lineOf('rotated').jsonPayload?.event)}\\"`,
  );
});

test('.gcloudignore lets through what Terraform uploads, and nothing else', () => {
  const git = (args: string[], input?: string): string[] => {
    const options = { cwd: root, encoding: 'utf8', input } as const;
    return execFileSync('git', args, options)
      .split('\n')
      .filter((line) => line !== '');
  };
  const files = git(['ls-files', '--cached', '--others', '--exclude-standard']);
  const ignored = new Set(
    git(
      [
        '-c',
        `core.excludesFile=${resolve(root, '.gcloudignore')}`,
        'check-ignore',
        '--no-index',
        '--stdin',
      ],
      files.join('\n'),
    ),
  );
  expect(uploadedFiles()).toContain('src/index.ts');
  expect(files.filter((file) => !ignored.has(file)).sort()).toEqual(uploadedFiles());
});
