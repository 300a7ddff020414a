import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** Builds the function and the package for applications once, so that tests start what is deployed and installed. */
export default function buildOnce() {
  for (const script of ['../build/build.mjs', '../packages/momento-rotating-client/build.mjs']) {
    const path = fileURLToPath(new URL(script, import.meta.url));
    execFileSync(process.execPath, [path], { stdio: 'inherit' });
  }
}
