/** The number of calls and the duration for many secrets and for many versions, compared with their bounds. */
import { WRITE_RATE } from '../src/secret-manager/quota';
import { AS_DEPLOYED, FunctionProcess, ROOT } from './function';
import { measurement, timed, type Measurement } from './report';
import type { Services } from './services';

const SECRETS = 100;
const VERSIONS = 200;

/** The latency of every call in ms, as between regions of a cloud. */
const LATENCY = 50;

/** Calls per secret with one version: access, list, permissions, refresh, verify, add, list, disable. */
const CALLS = 8;

/** Writes per secret: add, disable. The function limits writes per second. */
const WRITES = 2;

export async function scale(services: Services): Promise<Measurement[]> {
  const cases = [
    {
      name: `${SECRETS} secrets`,
      secrets: SECRETS,
      versions: 1,
      seconds: (SECRETS * WRITES) / WRITE_RATE.calls,
    },
    {
      name: `1 secret with ${VERSIONS} versions`,
      secrets: 1,
      versions: VERSIONS,
      seconds: VERSIONS / WRITE_RATE.calls,
    },
  ];
  const all: Measurement[] = [];
  for (const { name, secrets, versions, seconds } of cases) {
    const { calls, duration } = await measure(services, secrets, versions);
    // The bound includes one call for each additional version, to disable it.
    const bound = secrets * (CALLS + versions - 1);
    all.push(
      measurement(`${name}: calls, of the bound ${bound}`, '%', [(100 * calls) / bound], {
        text: '<= 100',
        isMet: (share) => share <= 100,
      }),
      measurement(`${name}: duration / ${seconds} s`, '', [duration / 1000 / seconds], {
        text: '<= 1.4',
        isMet: (ratio) => ratio <= 1.4,
      }),
    );
  }
  return all;
}

async function measure(
  services: Services,
  count: number,
  versions: number,
): Promise<{ calls: number; duration: number }> {
  const secrets = await services.createSecrets(count, 'v1', 'scale');
  const [warmUp = ''] = await services.createSecrets(1, 'v1', 'scale');
  await services.addVersions(secrets, versions);
  const env = services.env([...secrets, warmUp], AS_DEPLOYED);
  const started = await FunctionProcess.start(ROOT, env);
  try {
    await started.post({ secrets: [warmUp] });
    await services.setLatency(LATENCY);
    await services.takeCalls();
    const duration = await timed(() => started.post({ secrets }));
    const calls = Object.values(await services.takeCalls());
    return { calls: calls.reduce((sum, each) => sum + each, 0), duration };
  } finally {
    await services.setLatency(0);
    await started.stop();
  }
}
