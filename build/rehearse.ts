/**
 * Lets the bundle refresh a v1 key and mint a v2 key against a fixture, and keeps the code that V8 compiled for that. So a
 * bundle that does not work is never deployed, and a cold start does not compile what its first rotation needs.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import { resolve } from 'node:path';
import vm from 'node:vm';
import { getTestServer } from '@google-cloud/functions-framework/testing';
import { consoleJson, inDays, startServices } from './fixture';
import { startKeyApi, v2Key } from './fixture-key-api';

const V1_SECRET = 'projects/rehearsal/secrets/v1';
const V2_SECRET = 'projects/rehearsal/secrets/v2';
const MANAGEMENT_KEY = 'projects/rehearsal/secrets/management-key';
const ROOT = resolve(__dirname, '..');

async function rehearse(): Promise<void> {
  const host = await startServices({
    [V1_SECRET]: consoleJson(),
    [V2_SECRET]: JSON.stringify({ api_key: v2Key('old', inDays(1)) }),
    [MANAGEMENT_KEY]: v2Key('management'),
  });
  Object.assign(process.env, {
    SECRETS: JSON.stringify([V1_SECRET, { name: V2_SECRET, role: 'r-any', lifetime: '30d' }]),
    MANAGEMENT_KEY,
    REVOKE: 'true',
    SECRET_MANAGER_EMULATOR_HOST: host,
    MOMENTO_EMULATOR_HOST: host,
    MOMENTO_KEY_API_EMULATOR_HOST: await startKeyApi(),
  });

  const script = loadBundle();
  const server = getTestServer('rotate').listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const response = await fetch(`http://127.0.0.1:${port}/`, { method: 'POST' });
  const answer = await response.text();
  assert.equal(response.status, 200, answer);
  const { results } = JSON.parse(answer) as { results: { outcome: string; issuedBy: string }[] };
  assert.deepEqual(
    results.map(({ outcome, issuedBy }) => `${outcome} by ${issuedBy}`),
    ['rotated by refresh', 'rotated by mint'],
    answer,
  );

  writeFileSync(resolve(ROOT, 'dist/function.cache'), script.createCachedData());
}

/** Loads the function as functions-framework does, and returns the script that its entry point runs. */
function loadBundle(): vm.Script {
  const { Script } = vm;
  const scripts: vm.Script[] = [];
  vm.Script = class extends Script {
    constructor(...args: ConstructorParameters<typeof Script>) {
      super(...args);
      scripts.push(this);
    }
  };
  createRequire(__filename)(ROOT);
  vm.Script = Script;
  const [script] = scripts;
  assert(script !== undefined && scripts.length === 1);
  return script;
}

rehearse().then(
  () => process.exit(0),
  (error: unknown) => {
    console.error('The bundle failed in its rehearsal.', error);
    process.exit(1);
  },
);
