/**
 * Reads the sections of CHANGELOG.md. As a program, it turns the unreleased changes into the section of the version in
 * package.json. Run it after `npm version N`.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';

const root = resolve(__dirname, '..');
const path = resolve(root, 'CHANGELOG.md');

/** The text of a version's section, without its heading. */
export function sectionOf(changelog: string, version: string): string {
  const [, ...sections] = changelog.split(/^## /m);
  const section = sections.find((one) => one.startsWith(`[${version}]`)) ?? '';
  const text = section.replace(/^.*/, '').trim();
  if (text === '') throw new Error(`CHANGELOG.md has no text about ${version}`);
  return text;
}

/** Returns the changelog with the unreleased changes as the section of a version. */
export function released(changelog: string, version: string, date: string): string {
  if (changelog.includes(`\n## [${version}]`))
    throw new Error(`CHANGELOG.md already has a section ${version}`);
  sectionOf(changelog, 'Unreleased');
  return changelog.replace('## [Unreleased]\n', `## [Unreleased]\n\n## [${version}] - ${date}\n`);
}

export function readChangelog(): string {
  return readFileSync(path, 'utf8');
}

/** The version in package.json. */
export function readVersion(): string {
  const text = readFileSync(resolve(root, 'package.json'), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

if (require.main === module) {
  const today = new Date().toISOString().slice(0, 10);
  writeFileSync(path, released(readChangelog(), readVersion(), today));
}
