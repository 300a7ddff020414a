/**
 * Packs momento-rotating-client, installs it into an empty CommonJS and an empty ESM project, compiles a TypeScript file there
 * and runs it. The exit code is 1 if something fails.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const root = resolve(__dirname, '..');
const PEERS = ['@gomomento/sdk', '@google-cloud/secret-manager'];

const PROGRAM = `
import { Configurations } from '@gomomento/sdk';
import { ClientClosedError, file, NoKeyError, RotatingCacheClient } from 'momento-rotating-client';

const client = new RotatingCacheClient({
  source: file('/a/file/that/does/not/exist'),
  cache: 'cache',
  configuration: Configurations.InRegion.Default.latest(),
  defaultTtlSeconds: 60,
});
const get = (): Promise<unknown> => client.use((momento) => momento.get('cache', 'key')).catch((error: unknown) => error);

async function main(): Promise<void> {
  const missing = await get();
  if (!(missing instanceof NoKeyError) || missing.code !== 'SECRET_NOT_FOUND') throw missing;
  await client.close();
  const closed = await get();
  if (!(closed instanceof ClientClosedError)) throw closed;
  console.log(missing.message);
}

void main();
`;

function run(cwd: string, command: string, ...args: string[]): string {
  return execFileSync(command, args, {
    cwd,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
}

const folder = mkdtempSync(join(tmpdir(), 'momento-rotating-client-'));
try {
  const source = join(root, 'packages/momento-rotating-client');
  run(source, process.execPath, 'build.mjs');
  const packed = run(
    source,
    'npm',
    'pack',
    '--ignore-scripts',
    '--json',
    `--pack-destination=${folder}`,
  );
  const [{ filename, files }] = JSON.parse(packed) as [
    { filename: string; files: { path: string }[] },
  ];
  const unexpected = files.filter(({ path }) => !/^(dist\/|README\.md$|package\.json$)/.test(path));
  if (unexpected.length > 0) throw new Error(`the package contains ${unexpected[0]?.path ?? ''}`);
  for (const type of ['commonjs', 'module']) {
    const project = join(folder, type);
    mkdirSync(project);
    writeFileSync(
      join(project, 'package.json'),
      JSON.stringify({ name: 'application', private: true, type }),
    );
    writeFileSync(join(project, 'index.ts'), PROGRAM);
    run(project, 'npm', 'install', '--no-audit', '--no-fund', join(folder, filename), ...PEERS);
    const types = ['--types', 'node', '--typeRoots', join(root, 'node_modules/@types')];
    const options = [
      '--strict',
      '--module',
      'node20',
      '--target',
      'es2023',
      '--lib',
      'es2023,esnext.disposable',
    ];
    const tsc = join(root, 'node_modules/typescript/bin/tsc');
    run(project, process.execPath, tsc, ...options, ...types, '--skipLibCheck', 'index.ts');
    console.log(`${type}: ${run(project, process.execPath, 'index.js').trim()}`);
  }
} finally {
  rmSync(folder, { recursive: true });
}
