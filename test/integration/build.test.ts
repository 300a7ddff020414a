import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { uploadedFiles } from '../../tools/artifact';

const root = resolve(__dirname, '../..');

/** What is deployed, in a folder of its own: other tests use what was built here. */
let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'momento-key-rotator-'));
  const developmentServer = ['tools/require-dependencies.mjs', 'tools/serve.mjs'];
  for (const file of [...uploadedFiles(), ...developmentServer]) {
    cpSync(join(root, file), join(folder, file));
  }
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
});
afterAll(() => rmSync(folder, { recursive: true }));

function run(command: string, args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const { status, stdout, stderr } = spawnSync(command, args, {
    cwd: folder,
    env: { PATH: process.env.PATH, HOME: process.env.HOME, ...env },
    encoding: 'utf8',
    // What should have ended may run on.
    timeout: 60_000,
  });
  return { status, lines: stdout.split('\n').filter((line) => line.startsWith('{')), stderr };
}

test('what is uploaded is enough to build, whatever is configured for the function', () => {
  const env = {
    SECRETS: 'projects/p/secrets/s',
    RENEW_BEFORE: '1h',
    VERIFY: 'false',
    SECRET_MANAGER_EMULATOR_HOST: 'localhost:1',
    NODE_OPTIONS: '--max-old-space-size=192',
  };
  expect(run('npm', ['run', 'gcp-build'], env)).toEqual({ status: 0, lines: [], stderr: '' });
});

test('npm start reports every problem of an invalid configuration in one line', () => {
  const { status, lines, stderr } = run('npm', ['start'], { RENEW_BEFORE: '14', TIMEOUT: '1s' });
  expect(status).toBe(1);
  expect(stderr).not.toMatch(/^\s+at /m);
  expect(lines).toHaveLength(1);
  expect(JSON.parse(lines[0] ?? '')).toMatchObject({
    severity: 'CRITICAL',
    message: expect.stringMatching(
      /^CONFIGURATION_INVALID: .*SECRETS.*RENEW_BEFORE.*TIMEOUT/,
    ) as string,
  });
});

test('a Node.js that is too old is told which one is needed, and nothing starts', () => {
  const main = 'node_modules/@google-cloud/functions-framework/build/src/main.js';
  const pretend = `
    Object.defineProperty(process.versions, 'node', { value: '20.20.2' });
    require('./${main}');`;
  const { status, lines, stderr } = run(
    process.execPath,
    ['--eval', pretend, '--', '--target=rotate'],
    { SECRETS: 'projects/p/secrets/s' },
  );
  expect({ status, stderr }).toEqual({ status: 1, stderr: '' });
  expect(lines).toHaveLength(1);
  expect(JSON.parse(lines[0] ?? '')).toMatchObject({
    severity: 'CRITICAL',
    message: expect.stringMatching(/^CONFIGURATION_INVALID: .*Node\.js >=22.*20\.20\.2/) as string,
  });
});
