import { parseConfig } from '../../../src/config/config';
import type { RotationError } from '../../../src/errors';
import { DAY, HOUR, SECOND, secretName, thrownBy } from '../support';

const NAME = 'projects/p/secrets/s';
const MANAGEMENT_KEY = 'projects/p/secrets/management';
const SECRET = { ...secretName(NAME), payload: 'json' };

function config(env: Record<string, string>) {
  return parseConfig({ SECRETS: NAME, ...env });
}

const LONG_GRACE = `GRACE_PERIOD must not be longer than the lifetime that a key of ${NAME} has left`;

const INTRODUCTION = "The function doesn't start, because its environment variables are invalid. ";

/** The sentences about what is wrong with a configuration. */
function problems(env: Record<string, string>): string[] {
  const { code, problem, action } = thrownBy(() => config(env)) as RotationError;
  expect(code).toBe('CONFIGURATION_INVALID');
  expect(action).toBe('Correct these variables. docs/reference/configuration.md describes them.');
  expect(problem).toContain(INTRODUCTION);
  return problem.slice(INTRODUCTION.length).split(/(?<=\.) (?=[A-Z])/);
}

/** SECRETS with one secret, and a management key. */
function minted(settings: object): Record<string, string> {
  return {
    SECRETS: JSON.stringify([{ name: NAME, role: 'r-viewer', ...settings }]),
    MANAGEMENT_KEY,
  };
}

test('needs only SECRETS', () => {
  expect(parseConfig({ SECRETS: NAME })).toEqual({
    secrets: [SECRET],
    policy: { gracePeriodMs: 0, verify: true, revoke: false },
    timeoutMs: 540 * SECOND,
    traceProject: 'p',
    momento: {},
  });
});

test('reads every variable', () => {
  expect(
    parseConfig({
      SECRETS: ` ${NAME}, projects/q/locations/eu/secrets/t,`,
      MANAGEMENT_KEY: ` ${MANAGEMENT_KEY} `,
      REVOKE: 'true',
      RENEW_BEFORE: '14d',
      GRACE_PERIOD: '36h',
      DESTROY_AFTER: ' 30d ',
      VERIFY: 'true',
      TIMEOUT: '30m',
      MOMENTO_ENDPOINT: 'cell-4-us-west-2-1.prod.a.momentohq.com',
      MOMENTO_REFRESH_PATH: '/v2/keys/refresh',
      GOOGLE_CLOUD_PROJECT: 'traces',
      SECRET_MANAGER_EMULATOR_HOST: 'localhost:8085',
      MOMENTO_EMULATOR_HOST: '127.0.0.1:8086',
      MOMENTO_KEY_API_EMULATOR_HOST: '[::1]:8087',
      UNRELATED: 'yes',
    }),
  ).toEqual({
    secrets: [SECRET, { ...secretName('projects/q/locations/eu/secrets/t'), payload: 'json' }],
    managementKey: secretName(MANAGEMENT_KEY),
    policy: {
      renewBefore: { minimumMs: 14 * DAY },
      gracePeriodMs: 36 * HOUR,
      destroyAfterMs: 30 * DAY,
      verify: true,
      revoke: true,
    },
    timeoutMs: 1800 * SECOND,
    momento: {
      endpoint: 'cell-4-us-west-2-1.prod.a.momentohq.com',
      refreshPath: '/v2/keys/refresh',
      emulator: '127.0.0.1:8086',
      keyApiEmulator: '[::1]:8087',
    },
    traceProject: 'traces',
    secretManagerEmulator: 'localhost:8085',
  });
});

test('takes an empty variable for unset', () => {
  const names = [
    ...['MANAGEMENT_KEY', 'REVOKE', 'RENEW_BEFORE', 'GRACE_PERIOD', 'DESTROY_AFTER', 'VERIFY'],
    ...['TIMEOUT', 'MOMENTO_ENDPOINT', 'MOMENTO_REFRESH_PATH', 'GOOGLE_CLOUD_PROJECT'],
    ...['SECRET_MANAGER_EMULATOR_HOST', 'MOMENTO_KEY_API_EMULATOR_HOST'],
  ];
  const empty = Object.fromEntries(names.map((name, i) => [name, ' '.repeat(i)]));
  expect(config(empty)).toEqual(config({}));
});

test.each<[string, string, object]>([
  ['RENEW_BEFORE', '1%', { policy: { renewBefore: { share: 0.01 } } }],
  ['RENEW_BEFORE', '99%', { policy: { renewBefore: { share: 0.99 } } }],
  ['RENEW_BEFORE', '90s', { policy: { renewBefore: { minimumMs: 90 * SECOND } } }],
  ['RENEW_BEFORE', '5m', { policy: { renewBefore: { minimumMs: 300 * SECOND } } }],
  ['RENEW_BEFORE', '50%,48h', { policy: { renewBefore: { share: 0.5, minimumMs: 48 * HOUR } } }],
  ['RENEW_BEFORE', '2d, 66%', { policy: { renewBefore: { share: 0.66, minimumMs: 48 * HOUR } } }],
  ['GRACE_PERIOD', '0', { policy: { gracePeriodMs: 0 } }],
  ['GRACE_PERIOD', '0s', { policy: { gracePeriodMs: 0 } }],
  ['DESTROY_AFTER', '0', { policy: { destroyAfterMs: 0 } }],
  ['DESTROY_AFTER', '999999h', { policy: { destroyAfterMs: 999_999 * HOUR } }],
  ['VERIFY', 'false', { policy: { verify: false } }],
  ['REVOKE', 'false', { policy: { revoke: false } }],
  ['MANAGEMENT_KEY', NAME, { managementKey: secretName(NAME) }],
  ['TIMEOUT', '120s', { timeoutMs: 120 * SECOND }],
  ['TIMEOUT', '1h', { timeoutMs: 3600 * SECOND }],
  ['MOMENTO_ENDPOINT', 'a.b', { momento: { endpoint: 'a.b' } }],
  ['MOMENTO_REFRESH_PATH', '/r', { momento: { refreshPath: '/r' } }],
  ['MOMENTO_REFRESH_PATH', '/v1/a.b:r', { momento: { refreshPath: '/v1/a.b:r' } }],
  ['SECRET_MANAGER_EMULATOR_HOST', '[::1]:1', { secretManagerEmulator: '[::1]:1' }],
  ['MOMENTO_EMULATOR_HOST', '127.8.9.1:65535', { momento: { emulator: '127.8.9.1:65535' } }],
])('%s=%s', (name, text, expected) => {
  expect(config({ [name]: text })).toMatchObject(expected);
});

describe('reports an invalid value by what it must be', () => {
  const durations = ['1', 'd', '1w', '1.5h', '-1h', '1 h', '1D', '1h30m', '1000000s', 'soon'];
  const hosts = ['localhost', 'localhost:', 'localhost:0', 'localhost:65536', ':8085', '8085'];
  const elsewhere = ['example.com:80', '10.0.0.1:80', '0.0.0.0:80', '128.0.0.1:80', '[::]:80'];
  const disguised = ['localhost.example.com:80', 'http://localhost:80', 'localhost:80/', '::1:80'];

  const prefixed = ['cache', 'control', 'Token'].map((prefix) => `${prefix}.cell-1.prod.a.b`);
  const noHosts = ['https://cell-1.b', 'a.b:443', 'a.b/', 'a..b', 'host', `${'a.'.repeat(130)}b`];
  const shares = ['0', '0d', '0%', '100%', '5.5%', '05%', '%', '50%,', ',48h', '50%,0', '50%,40%'];
  const lists = ['1h,2h', '50%,48h,1h', '50% 48h', '50%,48'];
  const paths = ['/', 'refresh', '//host/x', '/a?b', '/a b', 'https://a.b/c', '/a/', '/../a'];
  const emulators = [...hosts, ...elsewhere, ...disguised];

  test.each<[name: string, problem: string, texts: string[]]>([
    ['SECRETS', 'name at least one secret, as projects/PROJECT/secrets/SECRET', ['', ' , ']],
    [
      'MANAGEMENT_KEY',
      'be the full name of a secret',
      ['s', `${NAME}/versions/1`, `${NAME},${NAME}`],
    ],
    [
      'RENEW_BEFORE',
      'be a whole number with a unit, s, m, h or d, such as 36h or 14d, or a share from 1% to 99%, or both such as 50%,48h.',
      [...durations, ...shares, ...lists],
    ],
    ['GRACE_PERIOD', 'be 0 or a whole number with a unit', [...durations, '5%']],
    ['DESTROY_AFTER', 'be 0 or a whole number with a unit', [...durations, '5%']],
    ['VERIFY', 'be true or false', ['yes', '1', 'TRUE', 'off']],
    ['REVOKE', 'be true or false', ['yes', '1', 'TRUE', 'on']],
    [
      'TIMEOUT',
      'be a whole number with a unit, s, m, h or d, such as 540s, from 120s to 3600s',
      [...durations, '0', '119s', '1m', '3601s', '2h'],
    ],
    [
      'MOMENTO_ENDPOINT',
      'be a host such as cell-4-us-west-2-1.prod.a.momentohq.com, without a prefix (cache., control. or token.), a scheme, a port or a path.',
      [...prefixed, ...noHosts, `${'a'.repeat(64)}.b`],
    ],
    ['MOMENTO_REFRESH_PATH', 'be a path such as /api-keys/refresh', [...paths, '/a/..', '/./a']],
    ...['SECRET_MANAGER', 'MOMENTO', 'MOMENTO_KEY_API'].map(
      (service): [string, string, string[]] => [
        `${service}_EMULATOR_HOST`,
        'be host:port on the loopback interface, such as localhost:8085',
        emulators,
      ],
    ),
  ])('%s', (name, problem, texts) => {
    for (const text of texts) {
      const found = problems({ [name]: text });
      expect([text, found]).toEqual([text, [expect.stringContaining(`${name} must ${problem}`)]]);
    }
  });

  test('no variable at all', () => {
    expect(() => parseConfig({})).toThrow('SECRETS must name at least one secret');
  });
});

describe('variables that contradict each other', () => {
  const REVOKES = { REVOKE: 'true', MANAGEMENT_KEY, GRACE_PERIOD: '1h' };

  const lasting = (lifetime: string, env: object) => ({ ...minted({ lifetime }), ...env });
  const SHORTER = `RENEW_BEFORE must be shorter than the lifetime of ${NAME}`;
  const BOTH = { RENEW_BEFORE: '50%,48h' };
  const EMULATOR = { GRACE_PERIOD: '0', MOMENTO_KEY_API_EMULATOR_HOST: 'localhost:1' };

  test.each<[string, Record<string, string>]>([
    [
      'DESTROY_AFTER must not be shorter than GRACE_PERIOD',
      { GRACE_PERIOD: '2d', DESTROY_AFTER: '47h' },
    ],
    ['REVOKE needs MANAGEMENT_KEY', { ...REVOKES, MANAGEMENT_KEY: '' }],
    ['REVOKE needs a GRACE_PERIOD of at least 1h', { ...REVOKES, GRACE_PERIOD: '59m' }],
    ['REVOKE needs VERIFY', { ...REVOKES, VERIFY: 'false' }],
    [SHORTER, lasting('14d', { RENEW_BEFORE: '14d' })],
    [SHORTER, lasting('2d', BOTH)],
    [LONG_GRACE, lasting('30d', { RENEW_BEFORE: '20%,48h', GRACE_PERIOD: '145h' })],
    [LONG_GRACE, lasting('30d', { RENEW_BEFORE: '36h', GRACE_PERIOD: '37h' })],
    ['Entry 1 of SECRETS: role needs MANAGEMENT_KEY', { ...minted({}), MANAGEMENT_KEY: ' ' }],
  ])('are refused: %s (%j)', (problem, env) => {
    expect(problems(env)).toEqual([expect.stringContaining(problem)]);
  });

  test.each<[string, Record<string, string>]>([
    ['disabled and destroyed at once', { GRACE_PERIOD: '2d', DESTROY_AFTER: '48h' }],
    ['an hour for applications', REVOKES],
    ['no time for applications with emulators', { ...REVOKES, ...EMULATOR }],
    ['a management key that is one of the secrets', { MANAGEMENT_KEY: NAME }],
    ['a minimum that is shorter than the lifetime', lasting('49h', BOTH)],
    ['a minimum without a lifetime', { ...minted({}), ...BOTH, GRACE_PERIOD: '30d' }],
    ['a grace period as long as the share', lasting('30d', { ...BOTH, GRACE_PERIOD: '15d' })],
    [
      'a grace period as long as the minimum',
      lasting('10d', { RENEW_BEFORE: '10%,7d', GRACE_PERIOD: '7d' }),
    ],
    ['a long grace period when every run rotates', lasting('1d', { GRACE_PERIOD: '7d' })],
  ])('are accepted when they agree: %s', (_name, env) => {
    expect(() => config(env)).not.toThrow();
  });
});

test('checks every secret against RENEW_BEFORE and GRACE_PERIOD', () => {
  const secrets = [
    { name: NAME, role: 'r', lifetime: '1h' },
    { name: 'projects/p/secrets/t', role: 'r', lifetime: '3d' },
    { name: 'projects/p/secrets/u', role: 'r', lifetime: '30d' },
  ];
  const env = { SECRETS: JSON.stringify(secrets), MANAGEMENT_KEY };
  expect(problems({ ...env, RENEW_BEFORE: '50%,48h', GRACE_PERIOD: '3d' })).toEqual([
    expect.stringMatching(/^RENEW_BEFORE .* projects\/p\/secrets\/s,/),
    expect.stringMatching(/^GRACE_PERIOD .* projects\/p\/secrets\/t /),
  ]);
});

test('lists every problem in one message and quotes no value', () => {
  const planted = 'pLanted';
  const names = [
    ...['MANAGEMENT_KEY', 'REVOKE', 'RENEW_BEFORE', 'GRACE_PERIOD', 'DESTROY_AFTER', 'VERIFY'],
    ...['TIMEOUT', 'MOMENTO_ENDPOINT', 'MOMENTO_REFRESH_PATH', 'SECRET_MANAGER_EMULATOR_HOST'],
    ...['MOMENTO_EMULATOR_HOST', 'MOMENTO_KEY_API_EMULATOR_HOST'],
    'NODE_DEBUG',
  ];
  const wrong = Object.fromEntries(names.map((name) => [name, planted]));
  const others = { MOMENTO_REFRESH_PATH: `${planted}?`, SECRETS: `${planted},${planted}` };
  const found = problems({ ...wrong, ...others });
  const entries = ['Entry 1 of SECRETS', 'Entry 2 of SECRETS'];
  const expected = [...entries, ...names.map((name) => `${name} must`)];
  expect(found).toHaveLength(expected.length);
  expect(expected.filter((start) => !found.some((problem) => problem.startsWith(start)))).toEqual(
    [],
  );
  expect(found.join()).not.toContain(planted);
});
