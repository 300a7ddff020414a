import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { uploadedFiles } from '../../tools/artifact';

const root = resolve(__dirname, '../..');

/** A copy of the uploaded files: other tests use the build of the project's own folder. */
let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'momento-key-rotator-'));
  for (const file of uploadedFiles()) {
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
    timeout: 60_000,
  });
  return { status, lines: stdout.split('\n').filter((line) => line.startsWith('{')), stderr };
}

test('gcp-build succeeds when only the uploaded files are there and the function is configured', () => {
  const env = {
    SECRETS: 'projects/p/secrets/s',
    RENEW_BEFORE: '1h',
    VERIFY: 'false',
    SECRET_MANAGER_EMULATOR_HOST: 'localhost:1',
    NODE_OPTIONS: '--max-old-space-size=192',
  };
  expect(run('npm', ['run', 'gcp-build'], env)).toEqual({ status: 0, lines: [], stderr: '' });
});

test('the function fails with CONFIGURATION_INVALID when Node.js is too old', () => {
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
