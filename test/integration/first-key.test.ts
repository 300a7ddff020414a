/** The tool against the emulators: as npm runs it where the process matters, otherwise in this process. */
import { Readable } from 'node:stream';
import { systemClock } from '../../src/clock';
import { MomentoKeys } from '../../src/momento/issuer';
import { firstKey as run } from '../../tools/first-key/run';
import type { Fault } from '../../emulators/faults';
import { leaks } from '../leaks';
import { parseFault, TestBed } from './test-bed';
import { runTool, Sink, type Ended } from './tool';

let bed: TestBed;

beforeEach(async () => {
  bed = await TestBed.start(Date.now());
});
afterEach(() => bed.stop());

const FOR_ALL = ['--lifetime', '30d', '--all-caches', '--access', 'read-write'];

async function firstKey(args: readonly string[], input = '', env = {}): Promise<Ended> {
  const stdout = new Sink();
  const stderr = new Sink();
  const terminal = { stdin: Readable.from([Buffer.from(input)]), stdout, stderr };
  const code = await run(args, { ...bed.env, ...env }, terminal);
  // Only standard output can contain the key.
  expect(leaks(bed.secrets, [stderr.text])).toEqual([]);
  return { code, stdout: stdout.text, stderr: stderr.text };
}

const superUserKey = (): string => bed.momento.issueKey().consoleJson;
const emptySecret = (): string => bed.emptySecret().name;

describe('the tool makes a key', () => {
  it("and prints the console's JSON and nothing else when npm runs it", async () => {
    const ended = await runTool('first-key', {
      args: FOR_ALL,
      input: superUserKey(),
      env: bed.env,
    });
    expect(ended).toMatchObject({ code: 0 });
    expect(ended.stderr).toContain('deprecated v1 keys');
    expect(leaks(bed.secrets, [ended.stderr])).toEqual([]);
    const { apiKey, refreshToken, validUntil, ...rest } = JSON.parse(ended.stdout) as {
      apiKey: string;
      refreshToken: string;
      validUntil: number;
    };
    expect(bed.momento.acceptsRefresh(apiKey, refreshToken)).toBe(true);
    expect(bed.momento.expiryOf(apiKey)).toBe(validUntil * 1000);
    expect(rest).toEqual({ restEndpoint: 'https://api.cache.cell-1.momento.invalid' });
  });

  it('and stores it as a version that can be refreshed when --to names a secret', async () => {
    const [from, to] = [bed.seed().secret.name, emptySecret()];
    const ended = await firstKey([...FOR_ALL, '--from', from, '--to', to]);
    expect(ended).toMatchObject({ code: 0, stdout: '' });
    expect(ended.stderr).toContain(`version 1 of ${to}`);
    const keys = new MomentoKeys({ emulator: bed.momento.host, clock: systemClock });
    const session = keys.open(undefined);
    const version = { number: 1, state: 'ENABLED', createdAt: Date.now() } as const;
    const credential = keys.parse(bed.secretManager.latest(to) ?? Buffer.of());
    const secret = { name: to, project: 'p', id: 's', payload: 'json' } as const;
    expect(await session.nextKey(secret, { version, credential })).toMatchObject({ by: 'refresh' });
    session.close();
  });

  it.each([
    [['--all-caches', '--access', 'read'], [{ to: 'cache', role: 'read', cache: undefined }]],
    [
      ['--cache', 'a', '--cache=-b', '--access', 'write', '--topics', 'publish'],
      ['a', '-b'].flatMap((cache) => [
        { to: 'cache', role: 'write', cache },
        { to: 'topic', role: 'write', cache },
      ]),
    ],
    [['--cache', 'a', '--topics', 'subscribe'], [{ to: 'topic', role: 'read', cache: 'a' }]],
  ])('with the permissions that %j asks for', async (args, grants) => {
    const { stdout } = await firstKey(['--lifetime', '1h', ...args], superUserKey());
    const { apiKey } = JSON.parse(stdout) as { apiKey: string };
    expect(bed.momento.grants(apiKey)).toEqual(grants);
  });

  it('when the super user key is bare and legacy', async () => {
    const { apiKey } = bed.momento.issueKey({ format: 'legacy' });
    expect(await firstKey(FOR_ALL, `${apiKey}\n`)).toMatchObject({ code: 0 });
  });
});

describe('the tool makes no key', () => {
  async function refused(args: readonly string[], input = '', env = {}): Promise<string> {
    const ended = await firstKey(args, input, env);
    expect(ended).toMatchObject({ code: 1, stdout: '' });
    expect(bed.timesCalled('GenerateApiToken')).toBe(0);
    return ended.stderr;
  }

  it('and names every problem without quoting a value when arguments are invalid', async () => {
    const { apiKey } = bed.momento.issueKey();
    const args = [apiKey, `--${apiKey}`, '--lifetime', '0', '--all-caches=x', '--cache', ''];
    args.push('--access', 'all', '--topics', 'x', '--topics', 'y', '--from', apiKey);
    args.push('--to', 'projects/p/secrets/');
    const stderr = await refused(args, '', { MOMENTO_EMULATOR_HOST: 'example.com:1' });
    expect(stderr.replace(/\n\nnpx tsx[^]*/, '')).toBe(
      [
        'first-key: no key was generated: argument 1 is unknown',
        'argument 2 is unknown',
        '--all-caches takes no value',
        '--cache needs a value',
        '--topics is given more than once',
        '--lifetime must be more than 0: a whole number with a unit, s, m, h or d, such as 36h or 14d',
        '--access must be read, write or read-write',
        '--topics must be subscribe, publish or publish-subscribe',
        '--from must be the full name of a secret',
        '--to must be the full name of a secret',
        'MOMENTO_EMULATOR_HOST must be host:port on the loopback interface, such as localhost:8085',
        'give either --all-caches or --cache NAME.',
      ].join('; '),
    );
  });

  it.each<[string[], string]>([
    [[], "--lifetime is missing: a key that never expires can't be rotated"],
    [[], 'give --access or --topics'],
    [['--all-caches', '--access', 'read', '--lifetime', '--to'], '--lifetime needs a value'],
  ])('when the arguments are %j: %s', async (args, problem) => {
    expect(await refused(args)).toContain(problem);
  });

  it('when the key would be typed at a terminal', async () => {
    const stdin = Object.assign(Readable.from([]), { isTTY: true });
    const stderr = new Sink();
    expect(await run(FOR_ALL, bed.env, { stdin, stdout: new Sink(), stderr })).toBe(1);
    expect(stderr.text).toContain('Pass it from a file or a pipe');
  });

  it.each<[string, () => string]>([
    ['it is empty', () => ''],
    ["doesn't decode", () => '{"apiKey": "x"}'],
    ["no field 'apiKey'", () => '{"validUntil": 1767225600}'],
    ['give the rotator a management key', () => bed.momento.issueV2Key().apiKey],
  ])("when the super user key can't be used: %s", async (problem, input) => {
    expect(await refused(FOR_ALL, input())).toContain(problem);
  });

  it.each<[string, (secret: string) => unknown]>([
    [
      'already has a version',
      (secret) => bed.secretManager.addVersion(secret, 'x', { state: 'DESTROYED' }),
    ],
    [
      'You lack secretmanager.versions.add on',
      (secret) => bed.secretManager.grant(secret, ['secretmanager.versions.access']),
    ],
    ["or the secret doesn't exist", (secret) => bed.secretManager.deleteSecret(secret)],
  ])("when the key couldn't be the first version: %s", async (problem, prepare) => {
    const to = emptySecret();
    prepare(to);
    expect(await refused([...FOR_ALL, '--to', to], superUserKey())).toContain(problem);
  });

  it('when the secret of the super user key is empty', async () => {
    const stderr = await refused([...FOR_ALL, '--from', emptySecret()]);
    expect(stderr).toContain('has no version that can be read');
  });
});

describe('the tool reports', () => {
  const dataOnly = (): string => bed.momento.issueKey({ permissions: 'data-only' }).consoleJson;
  const revoked = (): string => {
    const { apiKey, consoleJson } = bed.momento.issueKey();
    bed.momento.revoke(apiKey);
    return consoleJson;
  };

  it.each<[string, Fault | undefined, RegExp, () => string]>([
    ["the key isn't a super user key", undefined, /isn't a super user key/, dataOnly],
    ['the key was revoked', undefined, /rejected the super user key/, revoked],
    [
      'Momento refuses',
      parseFault('INVALID_ARGUMENT before'),
      /refused to generate a key \(INVALID_ARGUMENT_ERROR\)/,
      superUserKey,
    ],
    [
      'the answer is lost',
      parseFault('drop after'),
      /no clear answer \(SERVER_UNAVAILABLE\).* A v1 key can't be revoked/s,
      superUserKey,
    ],
    ['the answer contains no key', parseFault('corrupt'), /answer contains no key/, superUserKey],
  ])('a failed call when %s', async (_, fault, expected, input) => {
    if (fault !== undefined) bed.inject('GenerateApiToken', 'every', fault);
    const to = emptySecret();
    const ended = await firstKey([...FOR_ALL, '--to', to], input());
    expect(ended).toMatchObject({ code: 1, stdout: '' });
    expect(ended.stderr).toMatch(expected);
    expect(bed.secretManager.versions(to)).toEqual([]);
    expect(bed.timesCalled('GenerateApiToken')).toBe(1);
  });

  it("a lost key when it can't be stored", async () => {
    bed.inject('AddSecretVersion', 'every', 'PERMISSION_DENIED before');
    const ended = await firstKey([...FOR_ALL, '--to', emptySecret()], superUserKey());
    expect(ended).toMatchObject({ code: 1, stdout: '' });
    expect(ended.stderr).toMatch(
      /might not have stored it \(PERMISSION_MISSING\)\. If the secret has no version, the key is lost\. It can't be revoked/,
    );
  });
});
