import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/**
 * Builds the function and the package for applications once before all tests, because some tests start the deployed function or
 * import the package.
 */
export default function buildOnce() {
  for (const script of ['../build/build.mjs', '../packages/momento-rotating-client/build.mjs']) {
    execFileSync(process.execPath, [fileURLToPath(new URL(script, import.meta.url))], {
      stdio: 'inherit',
      // So a plain bundle doesn't replace a fast bundle that fails.
      env: { ...process.env, CI: 'true' },
    });
  }
}
