import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const BUILDS = ['../build/build.mjs', '../packages/momento-rotating-client/build.mjs'];

/**
 * Builds the function and the package for applications once before all tests, because some tests start the deployed function or
 * import the package.
 */
export default async function buildOnce() {
  const builds = BUILDS.map(async (script) => {
    const build = spawn(process.execPath, [fileURLToPath(new URL(script, import.meta.url))], {
      stdio: 'inherit',
      // So a plain bundle doesn't replace a fast bundle that fails.
      env: { ...process.env, CI: 'true' },
    });
    const [code] = await once(build, 'close');
    if (code !== 0) throw new Error(`${script} exited with ${code}`);
  });
  await Promise.all(builds);
}
