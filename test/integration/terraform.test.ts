/** Compares the Terraform module with the function. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { uploadedFiles } from '../../tools/artifact';
import { MINUTE } from '../../src/duration';
import { permissionsFor, type RenewalPolicy } from '../../src/rotation/policy';
import type { Secret } from '../../src/rotation/ports';
import type { RotationResult } from '../../src/rotation/result';
import { iamName, permissionMissing, ROLES, VIEWER } from '../../src/secret-manager/errors';
import { FunctionProcess } from '../function-process';
import { TestBed } from './test-bed';
import { variablesRead } from './variables';

const POLICY: RenewalPolicy = { gracePeriodMs: 0, verify: true, revoke: false };

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

let bed: TestBed;
beforeAll(async () => {
  // The function's own process has the time of the machine.
  bed = await TestBed.start(Date.now());
});
afterAll(() => bed.stop());

/** A secret with three versions, the first of which is disabled. */
function seed(): Secret {
  const { secret } = bed.seed({ createTime: bed.clock.now() - MINUTE });
  for (let age = 2; age > 0; age -= 1) bed.addVersion(secret);
  bed.secretManager.setState(secret.name, '1', 'DISABLED');
  return secret;
}

async function rotate(secret: Secret): Promise<RotationResult> {
  return (await bed.rotate(secret, { policy: { destroyAfterMs: 0 } })).result;
}

/** The permissions without which no run begins. The function does without `get`, and then is more careful. */
const REQUIRED = permissionsFor({ ...POLICY, destroyAfterMs: 0 });

describe('the permissions that Terraform grants', () => {
  test('are the fewest that a run needs on a management key', () => {
    expect(terraformMap('iam.tf', 'management_key_permissions')).toEqual({
      [iamName('access')]: ROLES.access,
      [iamName('list')]: VIEWER,
    });
    const secret = { name: 'projects/p/secrets/s', project: 'p', id: 's' };
    expect(permissionMissing(secret, ['list']).message).toContain(VIEWER);
    expect(permissionMissing(secret, ['list', 'add']).message).not.toContain(VIEWER);
  });

  test('are the permissions and roles that the function requires', () => {
    const asked = [...REQUIRED, 'get'] as const;
    expect(permissions).toEqual(
      Object.fromEntries(asked.map((permission) => [iamName(permission), ROLES[permission]])),
    );
  });

  test('are enough to access, add, disable and destroy', async () => {
    const secret = seed();
    bed.secretManager.grant(secret.name, granted);
    expect(await rotate(secret)).toMatchObject({
      outcome: 'rotated',
      version: '4',
      disabled: ['2', '3'],
      destroyed: ['1'],
    });
  });

  test.each(REQUIRED.map(iamName))(
    'are all necessary: no refresh token is used when %s is missing',
    async (missing) => {
      const secret = seed();
      bed.secretManager.grant(
        secret.name,
        granted.filter((permission) => permission !== missing),
      );
      const keysBefore = bed.momento.secrets().length;
      const { outcome, error } = await rotate(secret);
      expect([outcome, error?.code]).toEqual(['failed', 'PERMISSION_MISSING']);
      expect(error?.message).toContain(missing);
      expect(error?.message).toContain(permissions[missing]);
      expect(bed.momento.secrets()).toHaveLength(keysBefore);
      expect(bed.secretManager.versions(secret.name)).toHaveLength(3);
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

test('the metrics use fields that exist in the log line', async () => {
  const [good, bad] = [seed(), seed()];
  bed.secretManager.grant(bad.name, []);
  const rotator = await FunctionProcess.start({
    env: {
      SECRETS: `${good.name},${bad.name}`,
      RENEW_BEFORE: '50%',
      ...bed.env,
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
  const fields = terraformMap('modules/monitoring/metrics.tf', 'rotation_fields');
  const { error_code: errorCode = '', help = '', trigger, contained, ...always } = fields;
  expect([trigger, contained]).toEqual(['jsonPayload.trigger', 'jsonPayload.contained']);
  for (const field of Object.values(always)) expect(lineOf('rotated')).toHaveProperty(field);
  expect(lineOf('failed')).toHaveProperty(errorCode, 'PERMISSION_MISSING');
  expect(lineOf('failed')).toHaveProperty(help, 'docs/operate/error-codes.md#permission-missing');
  expect(readFileSync(resolve(root, 'terraform/modules/monitoring/metrics.tf'), 'utf8')).toContain(
    `jsonPayload.event=\\"${String(lineOf('rotated').jsonPayload?.event)}\\"`,
  );
});

test('the README has the tables of the inputs and outputs', () => {
  const script = resolve(root, 'tools/terraform-tables.mjs');
  execFileSync('node', [script, '--check'], { stdio: 'pipe' });
});

test('no line of Terraform or of a shell script has more than 120 characters', () => {
  const files = execFileSync('git', ['ls-files', '*.tf', '*.hcl', '*.tftpl', '*.sh', '.ci/run'], {
    cwd: root,
    encoding: 'utf8',
  });
  const long = files
    .trim()
    .split('\n')
    .flatMap((file) =>
      readFileSync(resolve(root, file), 'utf8')
        .split('\n')
        .flatMap((line, index) => (line.length > 120 ? [`${file}:${String(index + 1)}`] : [])),
    );
  expect(long).toEqual([]);
});

test('.gcloudignore lists every file except those that Terraform uploads', () => {
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
