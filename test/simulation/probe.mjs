// Loaded into the function's process with --import. At SIGUSR2 it prints the memory, handles and files of the process.
import { readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

process.on('SIGUSR2', () => {
  void measure();
});

async function measure() {
  // Finalizers free more memory, which only the next round collects.
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
