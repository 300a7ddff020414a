/** The process ends at every call: the function runs in a process of its own, as it is deployed. */
import { FunctionProcess } from '../function-process';
import type { Reply } from '../server-process';
import type { Moment } from '../emulators/faults';
import { everyNth, scene, type Case, type Group } from './campaign';
import { CALLS } from './every-call';
import type { Ending } from './invariants';
import type { Scene } from './scene';

/** Cloud Run kills an instance this long after SIGTERM. */
const TERMINATION_MS = 10_000;

type RefreshTokens = 'reusable' | 'single-use';
type Call = (typeof CALLS)[number];

/** After these a refresh has taken effect, and before the end of them its answer is in memory only. */
function isKeyInMemory([method, n]: Call, when: Moment): boolean {
  if (method === 'RefreshApiToken' || method === 'ListSecretVersions') {
    return method === 'RefreshApiToken' ? when === 'after' : n === 2;
  }
  return method === 'ListCaches' || (method === 'AddSecretVersion' && when === 'before');
}

function start(played: Scene): Promise<FunctionProcess> {
  return FunctionProcess.start({
    env: {
      SECRETS: played.secret.name,
      DESTROY_AFTER: '1d',
      SECRET_MANAGER_EMULATOR_HOST: played.secretManager.host,
      MOMENTO_EMULATOR_HOST: played.momento.host,
    },
  });
}

function ending({ status, body }: Reply, written: string): Ending {
  const { results } = body as { results: [{ outcome: string; error?: { code: string } }] };
  const [{ outcome, error }] = results;
  return { status, outcome, code: error?.code, written: [JSON.stringify(body), written] };
}

function killedAt(call: Call, when: Moment, refreshTokens: RefreshTokens): Case {
  const [method, n] = call;
  return scene(
    `SIGKILL ${method}#${n} ${when}, ${refreshTokens}`,
    { refreshTokens },
    async (played) => {
      const [first, second] = await Promise.all([start(played), start(played)]);
      try {
        played.aim(async (site) => {
          if (site.method !== method || site.n !== n || site.when !== when) return undefined;
          await first.stop();
          return { kind: 'hang', when };
        });
        const reply = await first.post().catch(() => undefined);
        await first.exited;
        played.aim(undefined);
        const last = ending(await second.post(), first.output + second.output);
        played.invariants.ends(last, 0);
        const lost = refreshTokens === 'single-use' && isKeyInMemory(call, when);
        played.invariants.judgeLastRun(last, lost);
        return reply === undefined ? [] : ['the process was not killed'];
      } finally {
        await Promise.all([first.stop(), second.stop()]);
      }
    },
  );
}

function terminatedAt([method, n]: Call, when: Moment): Case {
  return scene(
    `SIGTERM ${method}#${n} ${when}`,
    { refreshTokens: 'single-use' },
    async (played) => {
      const process = await start(played);
      try {
        played.aim((site) => {
          if (site.method === method && site.n === n && site.when === when)
            process.signal('SIGTERM');
          return undefined;
        });
        const reply = await process.post();
        const answeredAt = Date.now();
        const exit = await process.exited;
        const run = ending(reply, process.output);
        played.invariants.ends(run, Date.now() - answeredAt - TERMINATION_MS);
        played.invariants.judgeLastRun(run, false);
        return exit === 'SIGKILL' ? ['the process did not end'] : [];
      } finally {
        await process.stop();
      }
    },
  );
}

export const killed: Group = {
  name: 'killed',
  title: 'the process killed or stopped at every call',
  concurrency: 2,
  cases: (extent) => {
    const moments = CALLS.flatMap((call) =>
      (['before', 'after'] as const).map((when) => ({ call, when })),
    );
    const kills = (['single-use', 'reusable'] as const).flatMap((refreshTokens) =>
      moments.map(({ call, when }) => killedAt(call, when, refreshTokens)),
    );
    const terminations = moments.map(({ call, when }) => terminatedAt(call, when));
    if (extent === 'full') return [...kills, ...terminations];
    return [...everyNth(kills.slice(0, moments.length), 8, 7), ...everyNth(terminations, 18, 7)];
  },
};
