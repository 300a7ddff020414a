import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/**
 * Builds the function once before all tests, because some tests start the deployed function.
 */
export default function buildOnce() {
  execFileSync(process.execPath, [fileURLToPath(new URL('../build/build.mjs', import.meta.url))], {
    stdio: 'inherit',
    // So a plain bundle doesn't replace a fast bundle that fails.
    env: { ...process.env, CI: 'true' },
  });
}
