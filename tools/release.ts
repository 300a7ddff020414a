/**
 * Creates the files of a release, in release/: `npx tsx tools/release.ts --tag=v1.2.3`. Without a tag it uses the unreleased
 * changes. Needs `terraform` and `unzip`. Tools create what they can: Terraform the zip, npm the bill of materials, and
 * GitHub the provenance and the release. This program tests the zip, and copies the notes from CHANGELOG.md. Tools that
 * generate notes from commits would describe commits, but users need descriptions of features.
 *
 *   assets/momento-key-rotator-1.2.3.zip       the function's source, the same file that Terraform uploads
 *   assets/momento-key-rotator-1.2.3.cdx.json  its bill of materials, in CycloneDX
 *   assets/SHA256SUMS                          the hashes of both files
 *   notes.md                                   the section of this version in CHANGELOG.md
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { tryArtifact, uploadedFiles } from './artifact';
import { readChangelog, readVersion, sectionOf } from './changelog';

const root = resolve(__dirname, '..');
const NAME = 'momento-key-rotator';

async function main(): Promise<void> {
  const { tag } = parseArgs({ options: { tag: { type: 'string' } } }).values;
  const version = readVersion();
  if (tag !== undefined && tag !== `v${version}`) {
    throw new Error(`the tag ${tag} and the version ${version} in package.json differ`);
  }
  const changes = sectionOf(readChangelog(), tag === undefined ? 'Unreleased' : version);

  const release = join(root, 'release');
  const assets = join(release, 'assets');
  rmSync(release, { recursive: true, force: true });
  mkdirSync(assets, { recursive: true });

  const { zip, provider } = zipOfTerraform();
  await tryZip(zip);
  copyFileSync(zip, join(assets, `${NAME}-${version}.zip`));
  writeFileSync(join(assets, `${NAME}-${version}.cdx.json`), billOfMaterials());
  writeFileSync(join(assets, 'SHA256SUMS'), checksums(assets));
  writeFileSync(
    join(release, 'notes.md'),
    `${changes}\n\nTerraform created the zip with ${provider}.\n`,
  );
  console.log(readFileSync(join(assets, 'SHA256SUMS'), 'utf8'));
}

/** Terraform creates the zip in a plan of only the archive. Such a plan needs no credentials. */
function zipOfTerraform(): { zip: string; provider: string } {
  const zip = join(root, `terraform/.terraform/release-${NAME}-source.zip`);
  rmSync(zip, { force: true });
  const terraform = (command: string, ...args: string[]): string =>
    execFileSync('terraform', ['-chdir=terraform', command, ...args], {
      cwd: root,
      encoding: 'utf8',
    });
  terraform('init', '-input=false', '-backend=false');
  const target = '-target=data.archive_file.source';
  terraform('plan', '-input=false', '-lock=false', target, '-var=project_id=release');
  const { provider_selections: providers } = JSON.parse(terraform('version', '-json')) as {
    provider_selections: Record<string, string>;
  };
  const [name, version] = Object.entries(providers).find(([key]) => key.endsWith('/archive')) ?? [];
  return { zip, provider: `${name ?? 'an archive provider'} ${version ?? 'of this machine'}` };
}

/** Checks that the zip contains the expected files, and that a function built from it rotates keys. */
async function tryZip(zip: string): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), `${NAME}-`));
  try {
    execFileSync('unzip', ['-q', zip, '-d', folder]);
    const files = readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
      .sort();
    const expected = uploadedFiles();
    if (files.join() !== expected.join())
      throw new Error(
        'the zip contains more or fewer files than the patterns in terraform/source.tf match',
      );
    const differs = expected.find(
      (file) => !readFileSync(join(folder, file)).equals(readFileSync(join(root, file))),
    );
    if (differs !== undefined) throw new Error(`${differs} in the zip differs from the file here`);
    await tryArtifact(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Lists development dependencies too, because the bundle contains code of many of them. */
function billOfMaterials(): string {
  return execFileSync('npm', ['sbom', '--sbom-format=cyclonedx'], {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
  });
}

/** Hashes the files of a folder, in the format of `sha256sum --check`. */
function checksums(folder: string): string {
  return readdirSync(folder)
    .sort()
    .map((file) => {
      const hash = createHash('sha256').update(readFileSync(join(folder, file)));
      return `${hash.digest('hex')}  ${file}\n`;
    })
    .join('');
}

main().catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
