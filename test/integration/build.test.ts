import { spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { uploadedFiles } from '../../tools/artifact';

const root = resolve(__dirname, '../..');

const FRAMEWORK = 'node_modules/@google-cloud/functions-framework/build/src/main.js';

/** A folder with the deployed files, because other tests use the project's own dist. */
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'momento-key-rotator-'));
  for (const file of uploadedFiles()) {
    cpSync(join(root, file), join(folder, file));
  }
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
});
afterEach(() => rmSync(folder, { recursive: true }));

function run(command: string, args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const { status, stdout, stderr } = spawnSync(command, args, {
    cwd: folder,
    env: { PATH: process.env.PATH, HOME: process.env.HOME, ...env },
    encoding: 'utf8',
    // If the command doesn't exit, the test fails.
    timeout: 60_000,
  });
  return { status, lines: stdout.split('\n').filter((line) => line.startsWith('{')), stderr };
}

/** Replaces a text that the file must contain. */
function edit(file: string, from: string, to: string): void {
  const path = join(folder, file);
  const text = readFileSync(path, 'utf8');
  if (!text.includes(from)) throw new Error(`${file} doesn't contain ${from}`);
  writeFileSync(path, text.replace(from, to));
}

function bundle(): string {
  return readFileSync(join(folder, 'dist/function.js'), 'utf8');
}

function hasCompiledCode(): boolean {
  return existsSync(join(folder, 'dist/function.cache'));
}

test('builds from the uploaded files when variables configure the function', () => {
  const env = {
    SECRETS: 'projects/p/secrets/s',
    RENEW_BEFORE: '1h',
    VERIFY: 'false',
    SECRET_MANAGER_EMULATOR_HOST: 'localhost:1',
    NODE_OPTIONS: '--max-old-space-size=192',
  };
  expect(run('npm', ['run', 'gcp-build'], env)).toEqual({ status: 0, lines: [], stderr: '' });
  expect(hasCompiledCode()).toBe(true);
});

const FAILURES = [
  {
    failure: 'a library no longer has a module that the build leaves out',
    fail: () => edit('build/smaller-libraries.mjs', 'web-streams-polyfill', 'gone-from-library'),
    problem: /no module matches .*gone-from-library/,
  },
  {
    failure: "the bundle can't rotate",
    fail: () => edit('src/momento/key-api.ts', "'/api-keys'", "'/nothing'"),
    problem: /The bundle failed in its warm-up/,
  },
];

test.each(FAILURES)(
  'deploys the plain bundle with a warning when $failure',
  ({ fail, problem }) => {
    fail();
    const { status, stderr } = run('npm', ['run', 'gcp-build']);
    expect(stderr).toMatch(problem);
    expect(stderr).toMatch(/^WARNING: The fast bundle failed[^]*The plain bundle is deployed/m);
    expect(status).toBe(0);
    expect(hasCompiledCode()).toBe(false);
    expect(bundle()).not.toContain("isn't in the bundle");
    const { lines } = run(process.execPath, [FRAMEWORK, '--target=rotate'], { SECRETS: '-' });
    expect(lines).toEqual([expect.stringContaining('CONFIGURATION_INVALID')]);
  },
);

test.each(FAILURES.slice(0, 1))('fails in CI when $failure', ({ fail, problem }) => {
  fail();
  const { status, stderr } = run('npm', ['run', 'gcp-build'], { CI: 'true' });
  expect(stderr).toMatch(problem);
  expect(stderr).not.toMatch(/WARNING/);
  expect(status).toBe(1);
});

test('names the required Node.js version and exits when Node.js is too old', () => {
  // The entry point checks the version before it reads the bundle.
  cpSync(join(root, 'build/loader.cjs'), join(folder, 'dist/index.cjs'));
  const pretend = `
    Object.defineProperty(process.versions, 'node', { value: '20.20.2' });
    require('./${FRAMEWORK}');`;
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
