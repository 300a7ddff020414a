/** Compiles the sources twice, because Node.js reads one file either as an ES module or as CommonJS. */
import { execFileSync } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const folder = import.meta.dirname;
const tsc = createRequire(import.meta.url).resolve('typescript/bin/tsc');

rmSync(`${folder}/dist`, { recursive: true, force: true });
for (const [format, module, type] of [
  ['esm', 'esnext', 'module'],
  ['cjs', 'commonjs', 'commonjs'],
]) {
  const outDir = `${folder}/dist/${format}`;
  execFileSync(process.execPath, [tsc, '-p', folder, '--module', module, '--outDir', outDir], {
    stdio: 'inherit',
  });
  writeFileSync(`${outDir}/package.json`, `${JSON.stringify({ type })}\n`);
}
