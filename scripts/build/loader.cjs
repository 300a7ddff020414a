'use strict';
/* global __dirname, process, console */
// The function's entry point, copied to dist by the build. It runs the bundle (function.js) with the code that V8 has
// already compiled for it (function.cache), which halves what the function adds to a cold start. Node's own compile cache
// would not do: its folder is named after the user, and Cloud Functions builds and runs as two different ones. V8 itself
// refuses a cache of another version, of other flags or for another source; then the bundle is compiled as usual.
//
// The name ends in .cjs because functions-framework otherwise searches for the nearest package.json to learn what kind
// of module this is, with packages that take 25 ms to load.
const { readFileSync } = require('node:fs');
const { SourceMap } = require('node:module');
const { join } = require('node:path');
const { Script } = require('node:vm');
const { engines } = require('../package.json');

if (parseInt(process.versions.node, 10) < Number(/\d+/.exec(engines.node))) {
  const message =
    `CONFIGURATION_INVALID: The function needs Node.js ${engines.node} and was started with ${process.versions.node}. ` +
    'In the cloud, deploy it with a newer runtime; elsewhere, npm start brings the right one along.';
  console.log(JSON.stringify({ severity: 'CRITICAL', message, event: 'start' }));
  process.exit(1);
}

const filename = join(__dirname, 'function.js');
// The bundle is plain ASCII, of which V8 makes the smallest string when it is read as Latin-1.
const script = new Script(readFileSync(filename, 'latin1'), { filename, cachedData: cache() });

let sourceMap;
// Node maps the stacks of modules that it loads itself, which this one is not. Called when somebody reads a stack.
Error.prepareStackTrace = (error, frames) => {
  sourceMap ??= readSourceMap();
  return [Error.prototype.toString.call(error), ...frames.map(describe)].join('\n    at ');
};

script.runInThisContext()(exports, require, module, filename, __dirname);

function cache() {
  try {
    return readFileSync(join(__dirname, 'function.cache'));
  } catch {
    return undefined;
  }
}

/** Without a map stacks are less readable, which must not get in the way of an error. */
function readSourceMap() {
  try {
    return new SourceMap(JSON.parse(readFileSync(`${filename}.map`, 'utf8')));
  } catch {
    return { findOrigin: () => ({}) };
  }
}

/** The frame with its place in the sources, if it is in ours: of a library's, the map knows only which file it is. */
function describe(frame) {
  const text = String(frame);
  if (frame.getFileName() !== filename) return text;
  const line = frame.getLineNumber();
  const column = frame.getColumnNumber();
  const origin = sourceMap.findOrigin(line, column);
  if (origin.fileName === undefined || origin.fileName.includes('node_modules')) return text;
  return text.replace(
    `${filename}:${line}:${column}`,
    `${join(__dirname, origin.fileName)}:${origin.lineNumber}:${origin.columnNumber}`,
  );
}
