import { parseConfig } from '../../src/config';
import { RotationError } from '../../src/errors';
import { parseSecretName } from '../../src/secret-name';
import { DAY, HOUR, SECOND, secretName, thrownBy } from './support';

const NAME = 'projects/p/secrets/s';

function config(env: Record<string, string>) {
  return parseConfig({ SECRETS: NAME, ...env });
}

describe('parseSecretName', () => {
  const longest = 'x'.repeat(255);

  test.each([
    [NAME, { project: 'p', id: 's' }],
    ['projects/123/secrets/My-Key_2', { project: '123', id: 'My-Key_2' }],
    ['projects/example.com:a-1/secrets/s', { project: 'example.com:a-1', id: 's' }],
    [
      'projects/p/locations/europe-west1/secrets/s',
      { project: 'p', location: 'europe-west1', id: 's' },
    ],
    [`projects/p/secrets/${longest}`, { project: 'p', id: longest }],
  ])('%s', (name, parts) => {
    expect(parseSecretName(name)).toEqual({ name, ...parts });
  });

  test.each([
    ...['', 's', 'secrets/s', 'projects/p/secrets/', 'projects//secrets/s', ` ${NAME}`],
    ...[`${NAME}/`, `${NAME}/versions/1`, `${NAME}\n`, `/${NAME}`, 'projects/P/secrets/s'],
    ...['projects/p/secrets/a.b', 'projects/p/secrets/a/b', 'projects/p/locations/secrets/s'],
    ...['projects/p/locations//secrets/s', 'projects/p/locations/EU/secrets/s'],
    `projects/p/secrets/${longest}x`,
  ])('%j is none', (name) => {
    expect(parseSecretName(name)).toBeUndefined();
  });
});

describe('a configuration', () => {
  test('needs SECRETS only', () => {
    expect(parseConfig({ SECRETS: NAME })).toEqual({
      secrets: [secretName(NAME)],
      policy: { gracePeriodMs: 0 },
      verify: true,
      timeoutMs: 540 * SECOND,
      traceProject: 'p',
    });
  });

  test('can set everything', () => {
    expect(
      parseConfig({
        SECRETS: ` ${NAME}, projects/q/locations/eu/secrets/t,`,
        RENEW_BEFORE: '14d',
        GRACE_PERIOD: '36h',
        DESTROY_AFTER: ' 30d ',
        VERIFY: 'false',
        TIMEOUT: '30m',
        GOOGLE_CLOUD_PROJECT: 'traces',
        SECRET_MANAGER_EMULATOR_HOST: 'localhost:8085',
        MOMENTO_EMULATOR_HOST: '127.0.0.1:8086',
        UNRELATED: 'yes',
      }),
    ).toEqual({
      secrets: [secretName(NAME), secretName('projects/q/locations/eu/secrets/t')],
      policy: {
        renewBefore: { ms: 14 * DAY },
        gracePeriodMs: 36 * HOUR,
        destroyAfterMs: 30 * DAY,
      },
      verify: false,
      timeoutMs: 1800 * SECOND,
      traceProject: 'traces',
      secretManagerEmulator: 'localhost:8085',
      momentoEmulator: '127.0.0.1:8086',
    });
  });

  test('treats an empty variable as unset', () => {
    const names = ['RENEW_BEFORE', 'GRACE_PERIOD', 'DESTROY_AFTER', 'VERIFY', 'TIMEOUT'];
    const others = ['GOOGLE_CLOUD_PROJECT', 'SECRET_MANAGER_EMULATOR_HOST'];
    const empty = Object.fromEntries([...names, ...others].map((name, i) => [name, ' '.repeat(i)]));
    expect(config(empty)).toEqual(config({}));
  });

  test.each([
    ['RENEW_BEFORE', '1%', { policy: { renewBefore: { share: 0.01 } } }],
    ['RENEW_BEFORE', '99%', { policy: { renewBefore: { share: 0.99 } } }],
    ['RENEW_BEFORE', '90s', { policy: { renewBefore: { ms: 90 * SECOND } } }],
    ['RENEW_BEFORE', '5m', { policy: { renewBefore: { ms: 300 * SECOND } } }],
    ['GRACE_PERIOD', '0', { policy: { gracePeriodMs: 0 } }],
    ['GRACE_PERIOD', '0s', { policy: { gracePeriodMs: 0 } }],
    ['DESTROY_AFTER', '0', { policy: { destroyAfterMs: 0 } }],
    ['DESTROY_AFTER', '999999h', { policy: { destroyAfterMs: 999_999 * HOUR } }],
    ['VERIFY', 'true', { verify: true }],
    ['TIMEOUT', '120s', { timeoutMs: 120 * SECOND }],
    ['TIMEOUT', '1h', { timeoutMs: 3600 * SECOND }],
    ['SECRET_MANAGER_EMULATOR_HOST', '[::1]:1', { secretManagerEmulator: '[::1]:1' }],
    ['MOMENTO_EMULATOR_HOST', '127.8.9.1:65535', { momentoEmulator: '127.8.9.1:65535' }],
  ])('%s=%s', (name, text, expected) => {
    expect(config({ [name]: text })).toMatchObject(expected);
  });

  test('keeps a version enabled no longer than until it may be destroyed', () => {
    expect(config({ GRACE_PERIOD: '2d', DESTROY_AFTER: '48h' }).policy).toEqual({
      gracePeriodMs: 2 * DAY,
      destroyAfterMs: 2 * DAY,
    });
  });
});

describe('a configuration that is wrong', () => {
  const durations = ['1', 'd', '1w', '1.5h', '-1h', '1 h', '1D', '1h30m', '1000000s', 'soon'];
  const hosts = ['localhost', 'localhost:', 'localhost:0', 'localhost:65536', ':8085', '8085'];
  const elsewhere = ['example.com:80', '10.0.0.1:80', '0.0.0.0:80', '128.0.0.1:80', '[::]:80'];
  const disguised = ['localhost.example.com:80', 'http://localhost:80', 'localhost:80/', '::1:80'];
  const everyOne = (name: string, texts: string[], problem: string) =>
    texts.map((text): [string, string, string] => [name, text, problem]);

  test.each<[name: string, text: string, problem: string]>([
    ...everyOne('SECRETS', ['', ' , '], 'SECRETS must name at least one secret'),
    ['SECRETS', 'momento', 'entry 1 of SECRETS is not a full name'],
    ['SECRETS', `${NAME},,projects/p/secret/t`, 'entry 2 of SECRETS is not a full name'],
    ['SECRETS', `${NAME}/versions/latest`, 'entry 1 of SECRETS is not a full name'],
    ['SECRETS', `${NAME}, ${NAME}`, 'SECRETS names a secret more than once'],
    ...everyOne(
      'RENEW_BEFORE',
      [...durations, '0', '0d', '0%', '100%', '5.5%', '05%', '%'],
      'RENEW_BEFORE must be a whole number with a unit, s, m, h or d, such as 36h or 14d, or a share from 1% to 99%',
    ),
    ...everyOne('GRACE_PERIOD', [...durations, '5%'], 'GRACE_PERIOD must be 0 or a whole number'),
    ...everyOne('DESTROY_AFTER', [...durations, '5%'], 'DESTROY_AFTER must be 0 or a whole number'),
    ...everyOne('VERIFY', ['yes', '1', 'TRUE', 'off'], 'VERIFY must be true or false'),
    ...everyOne(
      'TIMEOUT',
      [...durations, '0', '119s', '1m', '3601s', '2h'],
      'TIMEOUT must be a whole number with a unit, s, m, h or d, such as 540s, from 120s to 3600s',
    ),
    ...['SECRET_MANAGER_EMULATOR_HOST', 'MOMENTO_EMULATOR_HOST'].flatMap((name) =>
      everyOne(
        name,
        [...hosts, ...elsewhere, ...disguised],
        `${name} must be host:port on the loopback interface, such as localhost:8085`,
      ),
    ),
  ])('%s=%j', (name, text, problem) => {
    const error = thrownBy(() => config({ [name]: text }));
    expect(error).toBeInstanceOf(RotationError);
    const { code, message } = error as RotationError;
    expect(code).toBe('CONFIGURATION_INVALID');
    expect(message).toContain(`until this is put right: ${problem}`);
    expect(message).toContain('The function does not start');
    expect(message.split('; ')).toHaveLength(2);
  });

  test('DESTROY_AFTER shorter than GRACE_PERIOD', () => {
    expect(() => config({ GRACE_PERIOD: '2d', DESTROY_AFTER: '47h' })).toThrow(
      'DESTROY_AFTER must not be shorter than GRACE_PERIOD',
    );
  });

  test('without any variable', () => {
    expect(() => parseConfig({})).toThrow('SECRETS must name at least one secret');
  });

  test('one message names every problem and quotes no value', () => {
    const planted = 'pLanted';
    const { message } = thrownBy(() =>
      parseConfig({
        SECRETS: `${planted},${planted}`,
        RENEW_BEFORE: planted,
        GRACE_PERIOD: planted,
        DESTROY_AFTER: planted,
        VERIFY: planted,
        TIMEOUT: planted,
        SECRET_MANAGER_EMULATOR_HOST: planted,
        MOMENTO_EMULATOR_HOST: planted,
      }),
    ) as RotationError;
    const problems = [
      ...['entry 1 of SECRETS', 'entry 2 of SECRETS', 'more than once', 'RENEW_BEFORE must'],
      ...['GRACE_PERIOD must', 'DESTROY_AFTER must', 'VERIFY must', 'TIMEOUT must'],
      ...['SECRET_MANAGER_EMULATOR_HOST must', 'MOMENTO_EMULATOR_HOST must'],
    ];
    expect(problems.filter((problem) => !message.includes(problem))).toEqual([]);
    expect(message).not.toContain(planted);
  });
});
