/** The changelog by its sections. Run it after `npm version N`: it turns the unreleased changes into the section of N. */
import { readFileSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';

const root = resolve(__dirname, '..');
const path = resolve(root, 'CHANGELOG.md');

/** What the section of a version says, without its heading. */
export function sectionOf(changelog: string, version: string): string {
  const [, ...sections] = changelog.split(/^## /m);
  const section = sections.find((one) => one.startsWith(`[${version}]`)) ?? '';
  const text = section.replace(/^.*/, '').trim();
  if (text === '') throw new Error(`the changelog says nothing of ${version}`);
  return text;
}

/** The changelog in which what was unreleased is a version. */
export function released(changelog: string, version: string, date: string): string {
  if (changelog.includes(`\n## [${version}]`)) throw new Error(`${version} is released already`);
  sectionOf(changelog, 'Unreleased');
  return changelog.replace('## [Unreleased]\n', `## [Unreleased]\n\n## [${version}] - ${date}\n`);
}

export function readChangelog(): string {
  return readFileSync(path, 'utf8');
}

/** What package.json says. */
export function readVersion(): string {
  const text = readFileSync(resolve(root, 'package.json'), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

if (require.main === module) {
  const today = new Date().toISOString().slice(0, 10);
  writeFileSync(path, released(readChangelog(), readVersion(), today));
}
