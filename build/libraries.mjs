// What the bundle takes from the libraries. Unchanged, they would put 7 MB of code into it, and at every start build the
// protobuf types of services that the rotator never calls. Every rule here is checked: one that fits nothing any more
// fails the build, and the rehearsal that follows it fails when one takes away what is needed.
import { readFile } from 'node:fs/promises';
import { trimProtos } from './trim-protos.mjs';

/** Modules that are required and never used. Using one throws an error that leads here. */
const LEFT_OUT = [
  // Message classes beside the definitions in JSON: only their types are used, and types are gone by now.
  /^google-gax\/build\/protos\/\w+\.js$/,
  // Services that a client does not offer.
  /^@grpc\/grpc-js\/build\/src\/server(-interceptors|-call|-credentials)?\.js$/,
  // REST in place of gRPC, and uploads of files.
  /^google-gax\/build\/src\/(fallbackRest|fallbackServiceStub|resumable\w+)\.js$/,
  // What Momento offers beside keys and caches.
  /^@gomomento\/generated-types\/dist\/(cacheclient|cachepubsub|cacheping|function|function_types|leaderboard|webhook)\.js$/,
  /^@gomomento\/sdk\/dist\/src\/internal\/(pubsub-client|leaderboard-data-client|function-invocation-client|webhook-client|ping-client)\.js$/,
  // Node has its own since version 18.
  /^web-streams-polyfill\//,
];

/** Modules that have something smaller in their place. */
const STAND_INS = new Map([
  [
    // A CacheClient makes one to read and write items in caches, which the rotator never does, and closes it.
    '@gomomento/sdk/dist/src/internal/cache-data-client.js',
    'exports.CacheDataClient = class CacheDataClient { close() {} };',
  ],
  [
    // It describes every message in protobuf once more, for servers that let themselves be asked about it (reflection).
    'protobufjs/ext/descriptor/index.js',
    `const { Enum, Root, Type } = require('protobufjs');
    const nothing = { file: [], $type: { toObject: () => ({}) } };
    for (const kind of [Enum, Root, Type]) kind.prototype.toDescriptor = () => nothing;`,
  ],
]);

/** Protobuf definitions, and the methods of them that are called. */
const PROTOS = new Map([
  [
    '@google-cloud/secret-manager/build/protos/protos.json',
    {
      'google.cloud.secretmanager.v1.SecretManagerService': [
        'AccessSecretVersion',
        'AddSecretVersion',
        'DestroySecretVersion',
        'DisableSecretVersion',
        'GetSecretVersion',
        'ListSecretVersions',
        'TestIamPermissions',
      ],
    },
  ],
  // Every client makes a second one for locations.
  ['google-gax/build/protos/locations.json', { 'google.cloud.location.Locations': [] }],
]);

/** The esbuild plugin that applies all this. */
export const libraries = {
  name: 'libraries',
  setup(build) {
    const unused = new Set([...LEFT_OUT, ...STAND_INS.keys(), ...PROTOS.keys()]);

    build.onLoad({ filter: /\/node_modules\/.*\.([cm]?js|json)$/ }, async ({ path }) => {
      const module = path.slice(path.lastIndexOf('/node_modules/') + '/node_modules/'.length);
      unused.delete(module);
      if (module.endsWith('.json')) {
        const services = PROTOS.get(module);
        if (services === undefined) return undefined;
        const trimmed = trimProtos(JSON.parse(await readFile(path, 'utf8')), services);
        return { contents: JSON.stringify(trimmed), loader: 'json' };
      }
      const leftOut = LEFT_OUT.find((pattern) => pattern.test(module));
      unused.delete(leftOut);
      const code =
        leftOut === undefined
          ? (STAND_INS.get(module) ?? (await readFile(path, 'utf8')))
          : notInBundle(module);
      return { contents: code, loader: 'js' };
    });

    build.onEnd(() => ({
      errors: [...unused].map((rule) => ({ text: `no module fits this rule any more: ${rule}` })),
    }));
  },
};

function notInBundle(module) {
  const message = `${module} is not in the bundle: see build/libraries.mjs`;
  return `module.exports = new Proxy({}, {
    get(_, name) {
      if (name === '__esModule') return true;
      throw new Error(${JSON.stringify(message)});
    },
  });`;
}
