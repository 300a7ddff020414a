// Builds the deployed files in dist/:
//
//   index.cjs        the entry point (loader.cjs)
//   function.js      the bundle of src and its libraries
//   function.cache   the code that V8 compiled for the bundle, valid for one version of V8
//
// The bundle is one call of esbuild. Two measures make a cold start fast: smaller libraries (smaller-libraries.mjs) save
// about 75 ms and 13 MiB, and the compiled code (warm-up.ts) about 85 ms. docs/development/performance.md has the measurements.
// If a measure fails in a deployment, the plain bundle is deployed with a warning. If CI is set, the build fails instead.
import { execFileSync } from 'node:child_process';
import { copyFile, readFile, rm } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { smallerLibraries } from './smaller-libraries.mjs';

const root = new URL('../', import.meta.url);
const { main, engines } = JSON.parse(await readFile(new URL('package.json', root), 'utf8'));
const oldestNode = Number(/\d+/.exec(engines.node));

try {
  await bundle([smallerLibraries]);
  execFileSync(deployedNode(), ['--import', 'tsx', 'build/warm-up.ts'], {
    cwd: root,
    env: {}, // The build has the variables of the deployed function. The warm-up sets its own.
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: 60_000,
  });
} catch (error) {
  const problem = `The fast bundle failed.\n${error.stderr || error.message}\n${error.stdout ?? ''}`;
  if (process.env.CI) {
    console.error(problem);
    process.exit(1);
  }
  console.warn(`WARNING: ${problem}The plain bundle is deployed instead. It starts more slowly.`);
  await bundle([]);
}

/** @param plugins of esbuild */
async function bundle(plugins) {
  await rm(new URL('dist', root), { recursive: true, force: true });
  await build({
    absWorkingDir: fileURLToPath(root),
    entryPoints: ['src/index.ts'],
    outfile: 'dist/function.js',
    bundle: true,
    platform: 'node',
    format: 'cjs',
    target: `node${oldestNode}`,
    minifySyntax: true,
    minifyWhitespace: true, // but not names, so that a stack trace is readable
    lineLimit: 100,
    legalComments: 'none',
    charset: 'ascii', // the loader reads Latin-1
    logLevel: 'warning',
    plugins,
    // functions-framework's command line loads its own copy, and both must be the same instance.
    external: ['@google-cloud/functions-framework'],
    banner: { js: '(function (exports, require, module, __filename, __dirname) {' },
    footer: { js: '})' },
  });
  await copyFile(new URL('loader.cjs', import.meta.url), new URL(main, root));
}

/** In Google's build, npm's Node.js runs the function. Elsewhere npm can run with a version that is too old. */
function deployedNode() {
  const { npm_lifecycle_event: script, npm_node_execpath: npmsNode } = process.env;
  if (script !== 'gcp-build' || npmsNode === undefined) return process.execPath;
  const version = execFileSync(npmsNode, ['-p', 'process.versions.node'], { encoding: 'utf8' });
  return parseInt(version, 10) >= oldestNode ? npmsNode : process.execPath;
}
