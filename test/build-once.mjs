import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/**
 * Builds the function once before all tests, so that those that start the real thing start what
 * would be deployed.
 */
export default function buildOnce() {
  execFileSync(process.execPath, [fileURLToPath(new URL('../build/build.mjs', import.meta.url))], {
    stdio: 'inherit',
  });
}
