// Makes what is deployed beside functions-framework, in dist:
//
//   index.cjs        the entry point: loads the bundle (see build/loader.cjs)
//   function.js      the bundle: src and the libraries
//   function.cache   the bundle's code as V8 compiled it, for the Node.js that made it
import { execFileSync, spawnSync } from 'node:child_process';
import { copyFile, readFile, rm } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { libraries } from './libraries.mjs';

const root = new URL('../', import.meta.url);

const { main, engines } = JSON.parse(await readFile(new URL('package.json', root), 'utf8'));

/** Of the runtimes that Cloud Functions offers, the oldest that the libraries support. */
const OLDEST_NODE = Number(/\d+/.exec(engines.node));

// First of all the cache: V8 tells the source that it belongs to by its length only.
await rm(new URL('dist', root), { recursive: true, force: true });
await build({
  absWorkingDir: fileURLToPath(root),
  entryPoints: ['src/index.ts'],
  outfile: 'dist/function.js',
  bundle: true,
  platform: 'node',
  format: 'cjs',
  target: `node${OLDEST_NODE}`,
  // Names stay, so that a stack can be read without a source map, which would take 50 KB of the zip.
  minifyWhitespace: true,
  lineLimit: 100,
  legalComments: 'none',
  // The loader relies on it.
  charset: 'ascii',
  logLevel: 'warning',
  alias: {
    // Without v1beta2 and the message classes, of which only the types are used.
    '@google-cloud/secret-manager':
      './node_modules/@google-cloud/secret-manager/build/src/v1/index.js',
  },
  plugins: [libraries],
  // The command line that starts the function loads its own copy: both have to be the same instance.
  external: ['@google-cloud/functions-framework'],
  // The loader calls it, as Node calls a module.
  banner: { js: '(function (exports, require, module, __filename, __dirname) {' },
  footer: { js: '})' },
});

await copyFile(new URL('loader.cjs', import.meta.url), new URL(main, root));

const rehearsal = spawnSync(
  functionsNode(),
  ['--import', 'tsx', fileURLToPath(new URL('rehearse.ts', import.meta.url))],
  // In an environment of its own: what is configured here is for the function that is started after the build.
  { cwd: root, env: {}, stdio: ['ignore', 'pipe', 'inherit'] },
);
if (rehearsal.status !== 0) {
  // The function's log.
  process.stderr.write(rehearsal.stdout);
  process.exit(1);
}

/**
 * The Node.js that will run the function. In the cloud that is npm's own, while PATH leads to the one that this project
 * brings. Elsewhere npm may run under a Node.js that is too old.
 */
function functionsNode() {
  const { npm_lifecycle_event: script, npm_node_execpath: npmsNode } = process.env;
  if (script !== 'gcp-build' || npmsNode === undefined) return process.execPath;
  const version = execFileSync(npmsNode, ['-p', 'process.versions.node'], { encoding: 'utf8' });
  return parseInt(version, 10) >= OLDEST_NODE ? npmsNode : process.execPath;
}
