// An esbuild plugin that leaves out code that the rotator never calls. docs/development/performance.md has the savings. A rule
// that matches no module fails the build. If a rule removes too much, the warm-up fails.
import { readFile } from 'node:fs/promises';

/** Modules that are imported and never used. Using one throws an error that names this file. */
const LEFT_OUT = [
  // Message classes: the clients use the definitions in JSON.
  /^google-gax\/build\/protos\/\w+\.js$/,
  /^@google-cloud\/secret-manager\/build\/(protos\/protos|src\/v1beta2\/\w+)\.js$/,
  // Services that a client doesn't offer.
  /^@grpc\/grpc-js\/build\/src\/server(-interceptors|-call|-credentials)?\.js$/,
  // REST instead of gRPC, and uploads of files.
  /^google-gax\/build\/src\/(fallbackRest|fallbackServiceStub|resumable\w+)\.js$/,
  // Momento's services beside keys and control of caches.
  /^@gomomento\/generated-types\/dist\/(cache\w+|function\w*|leaderboard|webhook)\.js$/,
  /^@gomomento\/sdk\/.*\/(pubsub|leaderboard-data|function|function-invocation|webhook|ping)-client\.js$/,
  // Node.js has its own streams.
  /^web-streams-polyfill\//,
];

/** Modules that are replaced by smaller ones. */
const STAND_INS = new Map([
  // A CacheClient creates this client to read and write items, which the rotator never does.
  [
    '@gomomento/sdk/dist/src/internal/cache-data-client.js',
    'exports.CacheDataClient = class { close() {} };',
  ],
  // Describes every message once more, for servers that offer reflection.
  [
    'protobufjs/ext/descriptor/index.js',
    `const { Enum, Root, Type } = require('protobufjs');
    const nothing = { file: [], $type: { toObject: () => ({}) } };
    for (const kind of [Enum, Root, Type]) kind.prototype.toDescriptor = () => nothing;`,
  ],
]);

/** Files with protobuf definitions, and the definitions that no call needs. At every start, the client parses all of them. */
const PROTOS =
  /^(@google-cloud\/secret-manager|google-gax)\/build\/protos\/(protos|locations)\.json$/;
const UNUSED_TYPES =
  /^google\.(api|cloud\.secretmanager\.v1beta2|protobuf\.(?!(Any|Duration|Empty|FieldMask|Timestamp)$)\w+)$/;

export const smallerLibraries = {
  name: 'smaller-libraries',
  setup({ onLoad, onEnd }) {
    const unmatched = new Set([...LEFT_OUT, ...STAND_INS.keys(), PROTOS]);
    onLoad({ filter: /\/node_modules\/.*\.(c?js|json)$/ }, async ({ path }) => {
      const module = path.slice(path.lastIndexOf('/node_modules/') + '/node_modules/'.length);
      const rule = [...LEFT_OUT, PROTOS].find((pattern) => pattern.test(module)) ?? module;
      unmatched.delete(rule);
      if (rule === PROTOS) {
        const definitions = JSON.parse(await readFile(path, 'utf8'));
        return { contents: JSON.stringify(trimmed(definitions)), loader: 'json' };
      }
      const contents = STAND_INS.get(module) ?? (rule === module ? undefined : leftOut(module));
      return contents === undefined ? undefined : { contents };
    });
    onEnd(() => ({
      errors: [...unmatched].map((rule) => ({ text: `no module matches ${rule}` })),
    }));
  },
};

function leftOut(module) {
  const message = `${module} isn't in the bundle: see build/smaller-libraries.mjs`;
  return `module.exports = new Proxy({}, {
    get(_, name) {
      if (name === '__esModule') return true;
      throw new Error(${JSON.stringify(message)});
    },
  });`;
}

function trimmed(node, parent = '') {
  for (const [name, child] of Object.entries(node.nested ?? {})) {
    if (UNUSED_TYPES.test(parent + name)) delete node.nested[name];
    else trimmed(child, `${parent}${name}.`);
  }
  return node;
}
