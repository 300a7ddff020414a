import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';

interface Package {
  allowScripts: Record<string, boolean>;
  packages: Record<string, { hasInstallScript?: boolean }>;
}

function read(file: string): Package {
  return JSON.parse(readFileSync(resolve(__dirname, '../..', file), 'utf8')) as Package;
}

test('every package with an install script is judged, and no other', () => {
  const scripted = Object.entries(read('package-lock.json').packages)
    .filter(([, { hasInstallScript }]) => hasInstallScript === true)
    .map(([path]) => path.replace(/^.*node_modules\//, ''));
  expect(Object.keys(read('package.json').allowScripts).sort()).toEqual(scripted.sort());
});
