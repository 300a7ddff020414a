'use strict';
/* global __dirname, process, console */
// The function's entry point, copied to dist/. It runs the bundle with the code that V8 compiled in the build. If the
// version of V8 differs, V8 ignores that code. Node's own compile cache doesn't work here: its folder is named after the
// user, and Cloud Functions builds and runs as two users.
//
// The name ends in .cjs. Otherwise functions-framework would look for a package.json to learn the type of this module, and
// the packages for the search take 25 ms to load.
const { readFileSync } = require('node:fs');
const { join } = require('node:path');
const { Script } = require('node:vm');
const { engines } = require('../package.json');

if (parseInt(process.versions.node, 10) < Number(/\d+/.exec(engines.node))) {
  const message =
    `CONFIGURATION_INVALID: The function needs Node.js ${engines.node}, and runs with ${process.versions.node}. ` +
    'On Google Cloud, deploy it with a newer runtime. Elsewhere, use npm start, which brings the right version.';
  console.log(JSON.stringify({ severity: 'CRITICAL', message, event: 'start' }));
  process.exit(1);
}

const filename = join(__dirname, 'function.js');
let cachedData;
try {
  cachedData = readFileSync(join(__dirname, 'function.cache'));
} catch {
  // The plain bundle has no compiled code.
}
const script = new Script(readFileSync(filename, 'latin1'), { filename, cachedData });
script.runInThisContext()(exports, require, module, filename, __dirname);
