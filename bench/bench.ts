/**
 * Compares the function with an empty function (hello) and the simplest implementation (baseline). Build the function first.
 *
 *     npx tsx bench/bench.ts [--runs=N] [--scale] [--many] [--endurance] [--json]
 *
 * --scale measures secrets with many versions, --many measures many secrets. Compare only ratios between machines. A missed
 * goal doesn't change the exit code.
 */
import { parseArgs } from 'node:util';
import { endurance, manyMinted, manyRefreshed } from './load';
import { coldStart, roundTrips, sizes } from './measurements';
import { environment, table, type Measurement } from './report';
import { scale } from './scale';
import { Services } from './services';

const { values: options } = parseArgs({
  options: {
    runs: { type: 'string', default: '9' },
    scale: { type: 'boolean', default: false },
    many: { type: 'boolean', default: false },
    endurance: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
});

async function bench(): Promise<void> {
  const runs = Number(options.runs);
  const where = environment();
  const services = await Services.start();
  const measurements: Measurement[] = [];
  try {
    measurements.push(
      ...(await coldStart(services, runs)),
      ...(await roundTrips(services, runs)),
      ...sizes(),
    );
    if (options.scale) measurements.push(...(await scale(services)));
    if (options.endurance) measurements.push(...(await endurance(services)));
    if (options.many) {
      measurements.push(...(await manyRefreshed(services)), ...(await manyMinted(services)));
    }
  } finally {
    services.stop();
  }
  if (options.json) {
    console.log(JSON.stringify({ ...where, measurements }, undefined, 2));
    return;
  }
  for (const [name, value] of Object.entries(where)) console.log(`${name.padEnd(9)} ${value}`);
  console.log(`\n${table(measurements)}`);
  if (!measurements.some(({ name }) => name.startsWith('peak RSS'))) {
    console.log('\nMemory needs /proc, which this system lacks.');
  }
}

bench().catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
