// Loaded into the function's process with --import: at SIGUSR2 it tells what the process holds on to.
import { readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

process.on('SIGUSR2', () => {
  void measure();
});

async function measure() {
  // The next round collects the memory that a finalizer frees.
  for (let round = 0; round < 3; round += 1) {
    globalThis.gc();
    await sleep(20);
  }
  const { heapUsed, external, arrayBuffers } = process.memoryUsage();
  const measured = {
    bytes: heapUsed + external + arrayBuffers,
    handles: process.getActiveResourcesInfo().filter((name) => name !== 'Timeout').length,
    files: readdirSync('/proc/self/fd').length,
  };
  process.stderr.write(`PROBE ${JSON.stringify(measured)}\n`);
}
