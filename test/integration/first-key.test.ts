/** The tool against the local services; once each as npm runs it, else in this process, which is faster. */
import { Readable } from 'node:stream';
import { status } from '@grpc/grpc-js';
import { MomentoKeys } from '../../src/momento/issuer';
import { systemClock } from '../../src/clock';
import { leaks } from '../leaks';
import type { Fault } from '../emulators/faults';
import { LocalServices } from './support';
import { firstKey as run } from '../../scripts/first-key/run';
import { runTool, Sink, type Ended } from './tool';

let services: LocalServices;

beforeAll(async () => {
  services = await LocalServices.start();
});

afterAll(() => services.stop());

beforeEach(() => services.reset());

const FOR_ALL = ['--lifetime', '30d', '--all-caches', '--access', 'read-write'];

async function firstKey(args: readonly string[], input = '', env = {}): Promise<Ended> {
  const stdout = new Sink();
  const stderr = new Sink();
  const terminal = { stdin: Readable.from([Buffer.from(input)]), stdout, stderr };
  const code = await run(args, { ...services.env, ...env }, terminal);
  return { code, stdout: stdout.text, stderr: stderr.text };
}

function superUserKey(): string {
  return services.momento.issueKey().consoleJson;
}

function emptySecret(): string {
  const { name } = services.newName();
  services.secretManager.createSecret(name);
  return name;
}

/** Every word that was said must be free of secrets, but for the key itself on standard output. */
function expectNoLeak({ stderr }: Ended): void {
  expect(leaks(services.secrets, [stderr])).toEqual([]);
}

describe('a key that is made', () => {
  it('is the JSON of the console, on standard output, and nothing else is', async () => {
    const ended = await runTool('first-key', {
      args: FOR_ALL,
      input: superUserKey(),
      env: services.env,
    });
    expect(ended.code).toBe(0);
    expect(ended.stderr).toContain('deprecated v1 keys');
    const { apiKey, refreshToken, validUntil, ...rest } = JSON.parse(ended.stdout) as {
      apiKey: string;
      refreshToken: string;
      validUntil: number;
    };
    expect(services.momento.acceptsRefresh(apiKey, refreshToken)).toBe(true);
    expect(Math.abs(validUntil - Date.now() / 1000 - 30 * 86400)).toBeLessThan(60);
    expect(rest).toEqual({ restEndpoint: 'https://api.cache.cell-1.momento.invalid' });
    expectNoLeak(ended);
  });

  it('is the first version of a secret, and rotates', async () => {
    const [from, to] = [services.seed().secret.name, emptySecret()];
    const ended = await firstKey([...FOR_ALL, '--from', from, '--to', to]);
    expect(ended).toMatchObject({ code: 0, stdout: '' });
    expect(ended.stderr).toContain(`version 1 of ${to}`);
    expectNoLeak(ended);
    const payload = services.secretManager.latest(to) ?? Buffer.of();
    const keys = new MomentoKeys({ emulator: services.momento.host, clock: systemClock });
    const session = keys.open(undefined);
    const version = { number: 1, state: 'ENABLED', createdAt: Date.now() } as const;
    const next = await session.nextKey(
      { name: to, project: 'p', id: 's', payload: 'json' },
      { version, credential: keys.parse(payload) },
    );
    expect(next).toMatchObject({ by: 'refresh' });
    session.close();
  });

  it.each([
    [['--all-caches', '--access', 'read'], [{ to: 'cache', role: 'read', cache: undefined }]],
    [
      ['--cache', 'a', '--cache=-b', '--access', 'write', '--topics', 'publish'],
      [
        { to: 'cache', role: 'write', cache: 'a' },
        { to: 'topic', role: 'write', cache: 'a' },
        { to: 'cache', role: 'write', cache: '-b' },
        { to: 'topic', role: 'write', cache: '-b' },
      ],
    ],
    [['--cache', 'a', '--topics', 'subscribe'], [{ to: 'topic', role: 'read', cache: 'a' }]],
    [
      ['--all-caches', '--access', 'read-write', '--topics', 'publish-subscribe'],
      [
        { to: 'cache', role: 'read-write', cache: undefined },
        { to: 'topic', role: 'read-write', cache: undefined },
      ],
    ],
  ])('may do what was asked for: %j', async (args, grants) => {
    const { stdout } = await firstKey(['--lifetime', '1h', ...args], superUserKey());
    const { apiKey } = JSON.parse(stdout) as { apiKey: string };
    expect(services.momento.grants(apiKey)).toEqual(grants);
  });

  it('is taken from a bare super user key, too', async () => {
    const { apiKey } = services.momento.issueKey({ format: 'legacy' });
    expect(await firstKey(FOR_ALL, `${apiKey}\n`)).toMatchObject({ code: 0 });
  });
});

it('--help says how it is used, whatever stands beside it, and makes nothing', async () => {
  const ended = await runTool('first-key', { args: ['--to', '--help'], env: {} });
  expect(ended).toMatchObject({ code: 0, stderr: '' });
  expect(ended.stdout).toContain('--lifetime 30d (--all-caches | --cache NAME ...)');
});

describe('nothing is made, and it is said why', () => {
  async function refused(args: readonly string[], input = '', env = {}): Promise<string> {
    const ended = await firstKey(args, input, env);
    expect(ended).toMatchObject({ code: 1, stdout: '' });
    expectNoLeak(ended);
    return ended.stderr;
  }

  afterEach(() => expect(services.timesCalled('GenerateApiToken')).toBe(0));

  it('names every problem at once, and quotes none: a key may be in the wrong place', async () => {
    const { apiKey } = services.momento.issueKey();
    const said = await refused(
      [
        apiKey,
        `--${apiKey}`,
        '--lifetime',
        '0',
        '--all-caches=x',
        '--cache',
        '',
        '--access',
      ].concat([
        'all',
        '--topics',
        'x',
        '--topics',
        'y',
        '--from',
        apiKey,
        '--to',
        'projects/p/secrets/',
      ]),
      '',
      { MOMENTO_EMULATOR_HOST: 'example.com:1' },
    );
    expect(said.replace(/\n\nnpm run[^]*/, '')).toBe(
      [
        'first-key: no key was made: argument 1 is none that is known',
        'argument 2 is none that is known',
        '--all-caches takes no value',
        '--cache has no value',
        '--topics is given more than once',
        '--lifetime must be more than 0: a whole number with a unit, s, m, h or d, such as 36h or 14d',
        '--access must be read, write or read-write',
        '--topics must be subscribe, publish or publish-subscribe',
        '--from must be the full name of a secret',
        '--to must be the full name of a secret',
        'MOMENTO_EMULATOR_HOST must be host:port on the loopback interface, such as localhost:8085',
        'either --all-caches or --cache NAME is needed, and not both.',
      ].join('; '),
    );
  });

  it('and the exit code says so', async () => {
    expect(await runTool('first-key', { args: ['key'], env: {} })).toMatchObject({
      code: 1,
      stdout: '',
    });
  });

  it('where a person would have to type the key, for all to see', async () => {
    const stdin = Object.assign(Readable.from([]), { isTTY: true });
    const stderr = new Sink();
    expect(await run(FOR_ALL, services.env, { stdin, stdout: new Sink(), stderr })).toBe(1);
    expect(stderr.text).toContain('has to come from a file or a pipe');
  });

  it('needs a lifetime, caches and permissions', async () => {
    const said = await refused([]);
    expect(said).toContain('--lifetime is missing: a key that never expires cannot be rotated');
    expect(said).toContain('either --all-caches or --cache NAME is needed');
    expect(said).toContain('--access or --topics is needed');
  });

  it('where the next option stands in the place of a value', async () => {
    expect(await refused(['--all-caches', '--access', 'read', '--lifetime', '--to'])).toContain(
      '--lifetime has no value',
    );
  });

  it.each([
    ['', 'it is empty'],
    ['{"apiKey": "x"}', 'does not decode'],
    ['{"validUntil": 1767225600}', "no field 'apiKey'"],
  ])('for the super user key %j', async (input, why) => {
    expect(await refused(FOR_ALL, input)).toContain(why);
  });

  it('for a v2 key, whose owner is led to the management key', async () => {
    const { apiKey } = services.momento.issueV2Key();
    expect(await refused(FOR_ALL, apiKey)).toContain('give the rotator a management key');
  });

  it.each(['ENABLED', 'DISABLED', 'DESTROYED'] as const)(
    'for a secret that has a version, which is %s',
    async (state) => {
      const to = emptySecret();
      services.secretManager.addVersion(to, 'x', { state });
      expect(await refused([...FOR_ALL, '--to', to], superUserKey())).toContain('has a version');
    },
  );

  it('for a secret that does not exist, or may not be written', async () => {
    const to = emptySecret();
    services.secretManager.grant(to, ['secretmanager.versions.access']);
    expect(await refused([...FOR_ALL, '--to', to], superUserKey())).toContain(
      `You lack secretmanager.versions.add on ${to}`,
    );
    const missing = services.newName().name;
    expect(await refused([...FOR_ALL, '--to', missing], superUserKey())).toContain(
      'or it does not exist',
    );
  });

  it('for a secret that holds no super user key', async () => {
    expect(await refused([...FOR_ALL, '--from', emptySecret()])).toContain(
      'has no version that can be read',
    );
  });
});

describe('what Momento may answer', () => {
  async function answered(fault: Fault | undefined, input = superUserKey()): Promise<string> {
    if (fault !== undefined) services.momento.faults.inject('GenerateApiToken', 'every', fault);
    const to = emptySecret();
    const ended = await firstKey([...FOR_ALL, '--to', to], input);
    expect(ended).toMatchObject({ code: 1, stdout: '' });
    expect(services.secretManager.versions(to)).toEqual([]);
    expect(services.timesCalled('GenerateApiToken')).toBe(1);
    expectNoLeak(ended);
    return ended.stderr;
  }

  it('that the key is no super user key', async () => {
    const { consoleJson } = services.momento.issueKey({ permissions: 'data-only' });
    expect(await answered(undefined, consoleJson)).toContain('it is no super user key');
  });

  it('that it does not accept the key', async () => {
    const { apiKey, consoleJson } = services.momento.issueKey();
    services.momento.revoke(apiKey);
    expect(await answered(undefined, consoleJson)).toContain('does not accept the super user key');
  });

  it.each<[string, Fault, RegExp]>([
    [
      'a refusal',
      { kind: 'error', code: status.INVALID_ARGUMENT, when: 'before' },
      /refused to make a key \(INVALID_ARGUMENT_ERROR\)/,
    ],
    [
      'no answer',
      { kind: 'drop', when: 'after' },
      /no clear answer \(SERVER_UNAVAILABLE\).* nobody can revoke a v1 key/s,
    ],
    ['something else', { kind: 'corrupt' }, /answered something that is no key/],
  ])('%s', async (_, fault, expected) => {
    expect(await answered(fault)).toMatch(expected);
  });
});

describe('storing what was made', () => {
  it('is tried again', async () => {
    const to = emptySecret();
    services.secretManager.faults.inject('AddSecretVersion', 1, {
      kind: 'error',
      code: status.UNAVAILABLE,
      when: 'before',
    });
    expect(await firstKey([...FOR_ALL, '--to', to], superUserKey())).toMatchObject({ code: 0 });
    expect(services.secretManager.versions(to)).toHaveLength(1);
  });

  it('that fails for good says what became of the key', async () => {
    services.secretManager.faults.inject('AddSecretVersion', 'every', {
      kind: 'error',
      code: status.PERMISSION_DENIED,
      when: 'before',
    });
    const ended = await firstKey([...FOR_ALL, '--to', emptySecret()], superUserKey());
    expect(ended).toMatchObject({ code: 1, stdout: '' });
    expect(ended.stderr).toMatch(
      /could not be stored \(PERMISSION_MISSING\) and is lost; nobody can revoke it/,
    );
    expectNoLeak(ended);
  });
});
