/**
 * Lets the bundle refresh a key and mint a key against the emulators, and stores the code that V8 compiled meanwhile. So a
 * cold start doesn't compile the code of its first rotation, and a bundle that can't rotate isn't deployed.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import { resolve } from 'node:path';
import vm from 'node:vm';
import { isMainThread, parentPort, Worker } from 'node:worker_threads';
import { getTestServer } from '@google-cloud/functions-framework/testing';
import { startServices } from '../emulators/services';

const REFRESHED = 'projects/warm-up/secrets/refreshed';
const MINTED = 'projects/warm-up/secrets/minted';
const MANAGEMENT_KEY = 'projects/warm-up/secrets/management-key';
const DIST = resolve(__dirname, '../dist');

async function emulate(): Promise<void> {
  const { secretManager, momento, env } = await startServices();
  const add = (name: string, payload: string): void => {
    secretManager.createSecret(name);
    secretManager.addVersion(name, payload);
  };
  add(REFRESHED, momento.issueKey().consoleJson);
  add(MINTED, momento.issueV2Key().apiJson);
  add(MANAGEMENT_KEY, momento.issueV2Key({ role: 'r-operator' }).apiJson);
  parentPort?.postMessage(env);
}

async function warmUp(): Promise<void> {
  // The emulators run in their own thread, because the function changes how all HTTP servers of its thread behave.
  const [env] = (await once(new Worker(__filename), 'message')) as [NodeJS.ProcessEnv];
  const minted = { name: MINTED, role: 'r-viewer', lifetime: '30d' };
  const SECRETS = JSON.stringify([REFRESHED, minted]);
  Object.assign(process.env, env, { SECRETS, MANAGEMENT_KEY, REVOKE: 'true', GRACE_PERIOD: '1h' });

  const script = runBundle();
  const server = getTestServer('rotate').listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const response = await fetch(`http://127.0.0.1:${port}/`, { method: 'POST' });
  const answer = await response.text();
  const ways = [...answer.matchAll(/"outcome":"(\w+)".*?"issuedBy":"(\w+)"/g)];
  assert.deepEqual(
    ways.map(([, outcome, issuedBy]) => `${outcome} by ${issuedBy}`),
    ['rotated by refresh', 'rotated by mint'],
    answer,
  );
  writeFileSync(resolve(DIST, 'function.cache'), script.createCachedData());
}

/** Runs the bundle as its entry point does (loader.cjs). */
function runBundle(): vm.Script {
  const filename = resolve(DIST, 'function.js');
  const script = new vm.Script(readFileSync(filename, 'latin1'), { filename });
  const run = script.runInThisContext() as (...parameters: unknown[]) => void;
  run({}, createRequire(filename), {}, filename, DIST);
  return script;
}

function fail(error: unknown): void {
  console.error('The bundle failed in its warm-up.', error);
  process.exit(1);
}

// If the emulators don't start, the worker's error rejects the promise of warmUp.
if (isMainThread) warmUp().then(() => process.exit(), fail);
else void emulate();
