/** How `npm start` and `npm run local` start, on a developer's machine. */
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type AddressInfo, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { FunctionProcess } from '../function-process';

const root = resolve(__dirname, '../..');
const env = {
  SECRETS: 'projects/p/secrets/s',
  SECRET_MANAGER_EMULATOR_HOST: 'localhost:1',
  MOMENTO_EMULATOR_HOST: 'localhost:1',
};

/** Runs a script that must end by itself. */
function run(args: readonly string[], extra: Readonly<Record<string, string>>) {
  const { status, stdout, stderr } = spawnSync(process.execPath, args, {
    cwd: root,
    env: { PATH: process.env.PATH, ...env, ...extra },
    encoding: 'utf8',
    timeout: 20_000,
  });
  return { status, stdout, stderr };
}

async function connects(host: string, url: string): Promise<boolean> {
  const socket = connect(Number(new URL(url).port), host);
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

test('the development server listens on 127.0.0.1 only, and the deployed function everywhere', async () => {
  const development = await FunctionProcess.start({ env, server: 'development' });
  const deployed = await FunctionProcess.start({ env });
  try {
    expect(await connects('127.0.0.1', development.url)).toBe(true);
    // A second address of the same machine. macOS has only the first one.
    expect(await connects('127.0.0.2', development.url)).toBe(false);
    if (process.platform === 'linux') expect(await connects('127.0.0.2', deployed.url)).toBe(true);
  } finally {
    await Promise.all([development.stop(), deployed.stop()]);
  }
});

test('the development server serves the function and ends at a signal', async () => {
  const development = await FunctionProcess.start({ env, server: 'development' });
  expect(await development.request({ method: 'PUT' })).toMatchObject({
    status: 405,
    body: { error: { code: 'METHOD_NOT_ALLOWED' } },
  });
  development.signal('SIGTERM');
  expect(await development.exited).toBe(0);
});

test('npm start stops with one message about all problems when the configuration is invalid', () => {
  const { status, stdout, stderr } = run(['tools/serve.mjs'], {
    SECRETS: '',
    RENEW_BEFORE: '14',
    TIMEOUT: '1s',
  });
  expect([status, /^\s+at /m.exec(stderr)]).toEqual([1, null]);
  const [entry, ...more] = stdout.split('\n').filter((line) => line.startsWith('{'));
  expect(more).toEqual([]);
  expect(JSON.parse(entry ?? '')).toMatchObject({
    severity: 'CRITICAL',
    message: expect.stringMatching(
      /^CONFIGURATION_INVALID: .*SECRETS.*RENEW_BEFORE.*TIMEOUT/,
    ) as string,
  });
});

describe('when the port is occupied', () => {
  let server: Server;
  let port: string;
  beforeAll(async () => {
    server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    port = String((server.address() as AddressInfo).port);
  });
  afterAll(() => server.close());

  test.each([
    ['npm start', ['tools/serve.mjs'], 'is already in use'],
    ['npm run local', ['--import', 'tsx', 'tools/local.ts'], "can't be used (EADDRINUSE)"],
  ])('stops %s with one line', (_, args, problem) => {
    expect(run(args, { PORT: port })).toEqual({
      status: 1,
      stdout: '',
      stderr: `Port ${port} ${problem}. Choose another one, such as PORT=8081.\n`,
    });
  });
});

test.each([
  ['npm start', ['tools/serve.mjs']],
  ['npm run local', ['--import', 'tsx', 'tools/local.ts']],
])("%s stops with one line when PORT isn't a port", (_, args) => {
  for (const PORT of ['65536']) {
    const { status, stderr } = run(args, { PORT });
    expect([status, stderr]).toEqual([
      1,
      expect.stringMatching(/^PORT must be a number from \d to 65535\.\n$/),
    ]);
  }
});

// `local` and both demos begin with `npm run build`, as `start` does.
test.each(['start', 'request'])(
  'npm run %s stops with one line when the development dependencies are missing',
  (script) => {
    const folder = mkdtempSync(join(tmpdir(), 'momento-key-rotator-'));
    try {
      for (const file of ['package.json', 'build', 'tools']) {
        cpSync(join(root, file), join(folder, file), { recursive: true });
      }
      const { status, stderr } = spawnSync('npm', ['run', script], {
        cwd: folder,
        env: { PATH: process.env.PATH, HOME: process.env.HOME },
        encoding: 'utf8',
        timeout: 20_000,
      });
      expect(status).toBe(1);
      expect(stderr).toContain(
        'The development dependencies are missing. Install them with npm ci --include=dev.\n',
      );
      expect(stderr).not.toMatch(/^\s+at /m);
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
);
