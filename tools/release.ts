/**
 * Creates the files of a release, in release/: `npx tsx tools/release.ts --tag=v1.2.3`. Without a tag it uses the unreleased
 * changes. Needs `terraform` and `unzip`. npm creates the bill of materials, and GitHub attests the provenance. What remains
 * by hand is the zip, which must be Terraform's own, and the notes.
 *
 *   assets/momento-key-rotator-1.2.3.zip       the function's source, the very file that Terraform uploads
 *   assets/momento-key-rotator-1.2.3.cdx.json  its bill of materials, in CycloneDX
 *   assets/SHA256SUMS                          of both
 *   notes.md                                   what the changelog says of this version
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
    throw new Error(`the tag is ${tag}, and package.json says ${version}`);
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
    `${changes}\n\nThe zip is what Terraform uploads, made with ${provider}.\n`,
  );
  console.log(readFileSync(join(assets, 'SHA256SUMS'), 'utf8'));
}

/** Lets Terraform read its archive and nothing else, for which it needs no credentials. */
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

/** The zip holds the files that it should, and what is built from it rotates a key. */
async function tryZip(zip: string): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), `${NAME}-`));
  try {
    execFileSync('unzip', ['-q', zip, '-d', folder]);
    const files = readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
      .sort();
    const expected = uploadedFiles();
    if (files.join() !== expected.join()) throw new Error('the zip holds other files');
    const differs = expected.find(
      (file) => !readFileSync(join(folder, file)).equals(readFileSync(join(root, file))),
    );
    if (differs !== undefined) throw new Error(`the zip holds another ${differs}`);
    await tryArtifact(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Development dependencies are in it, for most of them are in the bundle. */
function billOfMaterials(): string {
  return execFileSync('npm', ['sbom', '--sbom-format=cyclonedx'], {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
  });
}

/** As `sha256sum --check` reads them. */
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
