/**
 * Measures what the function costs with v1 keys and with v2 keys, beside an empty one ("hello") and what one would write at
 * first ("obvious", with v1 keys).
 *
 *     npm run bench -- [--runs=N] [--fleet] [--endurance] [--json]
 *
 * Only ratios can be compared between machines. Whether a goal is met changes nothing about the exit code.
 */
import { parseArgs } from 'node:util';
import { endurance, mintedFleet, refreshedFleet } from './load';
import { coldStart, roundTrips, sizes } from './measurements';
import { circumstances, table, type Measurement } from './report';
import { Services } from './services';

const { values: options } = parseArgs({
  options: {
    runs: { type: 'string', default: '9' },
    fleet: { type: 'boolean', default: false },
    endurance: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
});

async function bench(): Promise<void> {
  const runs = Number(options.runs);
  const where = circumstances();
  const services = await Services.start();
  const measurements: Measurement[] = [];
  try {
    measurements.push(
      ...(await coldStart(services, runs)),
      ...(await roundTrips(services, runs)),
      ...sizes(),
    );
    if (options.endurance) measurements.push(...(await endurance(services)));
    if (options.fleet) {
      measurements.push(...(await refreshedFleet(services)), ...(await mintedFleet(services)));
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
    console.log('\nNo memory figures: this system has no /proc.');
  }
}

bench().catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
