/**
 * Builds the function from only the files that Terraform uploads, as Google Cloud does, and rotates keys with it. The exit
 * code is 1 if something fails.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, globSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { startLocalTestBed, V1_SECRET, V2_SECRET } from './local-services';

const root = resolve(__dirname, '..');

/** Builds the files in a folder, and rotates keys with the built function. */
export async function tryArtifact(folder: string): Promise<void> {
  run(root, 'npm', 'run', 'build');
  run(folder, 'npm', 'ci');
  run(folder, 'npm', 'run', 'gcp-build');
  run(folder, 'npm', 'prune', '--omit=dev');

  const [built, tested] = [folder, root].map(hashOfCode);
  if (built !== tested) throw new Error('the build in an empty folder differs from the one here');

  const { rotator, stop } = await startLocalTestBed({ source: folder });
  try {
    const { status, body } = await rotator.post({ secrets: [V1_SECRET, V2_SECRET] });
    console.log(status, JSON.stringify(body));
    if (status !== 200) throw new Error(`the built function returned ${status} instead of 200`);
  } finally {
    await stop();
  }
  console.log('The uploaded files build the same function as this folder, and it rotates keys.');
}

/** The files that the patterns in `terraform/source.tf` match. */
export function uploadedFiles(): string[] {
  const terraform = readFileSync(join(root, 'terraform/source.tf'), 'utf8');
  const [, list = ''] = /source_patterns = \[(.*?)\]/s.exec(terraform) ?? [];
  const patterns = [...list.matchAll(/"([^"]+)"/g)].map(([, pattern = '']) => pattern);
  return globSync(patterns, { cwd: root }).sort();
}

function run(cwd: string, command: string, ...args: string[]): void {
  execFileSync(command, args, { cwd, stdio: 'inherit', env: { ...process.env, CI: 'true' } });
}

/** One hash of all code in `dist`, except V8's compiled code, which can differ between two builds. */
function hashOfCode(folder: string): string {
  const hash = createHash('sha256');
  for (const file of globSync('dist/*.{cjs,js,map}', { cwd: folder }).sort()) {
    hash.update(readFileSync(join(folder, file)));
  }
  return hash.digest('hex');
}

if (require.main === module) {
  const folder = mkdtempSync(join(tmpdir(), 'momento-key-rotator-'));
  for (const file of uploadedFiles()) cpSync(join(root, file), join(folder, file));
  tryArtifact(folder)
    .catch((error: unknown) => {
      console.error(error);
      process.exitCode = 1;
    })
    .finally(() => rmSync(folder, { recursive: true }));
}
