import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';

interface Package {
  allowScripts: Record<string, boolean>;
  packages: Record<string, { hasInstallScript?: boolean }>;
}

function read(file: string): Package {
  return JSON.parse(readFileSync(resolve(__dirname, '../..', file), 'utf8')) as Package;
}

test.each(['.', 'examples/application'])(
  '%s/package.json allows or denies every install script, and no other',
  (folder) => {
    const scripted = Object.entries(read(`${folder}/package-lock.json`).packages)
      .filter(([, { hasInstallScript }]) => hasInstallScript === true)
      .map(([path]) => path.replace(/^.*node_modules\//, ''));
    const { allowScripts } = read(`${folder}/package.json`);
    expect(Object.keys(allowScripts).sort()).toEqual(scripted.sort());
  },
);
