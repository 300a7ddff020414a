/** The process ends at every call: the function runs in a process of its own, as it is deployed. */
import { FunctionProcess } from '../function-process';
import type { Reply } from '../server-process';
import type { Moment } from '../../emulators/faults';
import { everyNth, scene, type Case, type Group } from './campaign';
import { CALLS } from './every-call';
import { MINT, REFRESH, type Play } from './every-call-v2';
import type { Ending } from './invariants';
import type { Scene } from './scene';
import { MOMENTS, type CallSite } from './strikes';

/** Cloud Run kills an instance this long after SIGTERM. */
const TERMINATION_MS = 10_000;

const SINGLE_USE: Play = {
  name: 'single-use',
  options: { refreshTokens: 'single-use' },
  calls: CALLS,
};
const REUSABLE: Play = { name: 'reusable', options: { refreshTokens: 'reusable' }, calls: CALLS };

const REFRESHES: readonly string[] = ['RefreshApiToken', 'RefreshKey'];
const PROOFS: readonly string[] = ['ListCaches', 'ProveKey'];

/** After these a refresh has taken effect, and before the end of them its answer is in memory only. */
function isKeyInMemory([method, n]: CallSite, when: Moment): boolean {
  if (REFRESHES.includes(method)) return when === 'after';
  if (method === 'ListSecretVersions') return n === 2;
  return PROOFS.includes(method) || (method === 'AddSecretVersion' && when === 'before');
}

function start(played: Scene): Promise<FunctionProcess> {
  return FunctionProcess.start({ env: { ...played.env, DESTROY_AFTER: '1d' } });
}

function ending({ status, body }: Reply, written: string): Ending {
  const { results } = body as { results: [{ outcome: string; error?: { code: string } }] };
  const [{ outcome, error }] = results;
  return { status, outcome, code: error?.code, written: [JSON.stringify(body), written] };
}

function killedAt({ name, options }: Play, call: CallSite, when: Moment): Case {
  const [method, n] = call;
  return scene(`SIGKILL ${method}#${n} ${when}, ${name}`, options, async (played) => {
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
      const isLost = options.kind !== 'mint' && options.refreshTokens !== 'reusable';
      played.invariants.judgeLastRun(last, isLost && isKeyInMemory(call, when));
      // What the killed process made, and what it left, ends when the time has come.
      if (options.kind === 'mint') await played.runLast();
      return reply === undefined ? [] : ['the process was not killed'];
    } finally {
      await Promise.all([first.stop(), second.stop()]);
    }
  });
}

function terminatedAt({ name, options }: Play, [method, n]: CallSite, when: Moment): Case {
  return scene(`SIGTERM ${method}#${n} ${when}, ${name}`, options, async (played) => {
    const process = await start(played);
    try {
      played.aim((site) => {
        if (site.method === method && site.n === n && site.when === when) process.signal('SIGTERM');
        return undefined;
      });
      const reply = await process.post();
      const answeredAt = Date.now();
      const exit = await process.exited;
      const run = ending(reply, process.output);
      played.invariants.ends(run, Date.now() - answeredAt - TERMINATION_MS);
      played.invariants.judgeLastRun(run, false);
      if (options.kind === 'mint') await played.runLast();
      return exit === 'SIGKILL' ? ['the process did not end'] : [];
    } finally {
      await process.stop();
    }
  });
}

function sites({ calls }: Play): { call: CallSite; when: Moment }[] {
  return calls.flatMap((call) => MOMENTS.map((when) => ({ call, when })));
}

function killsIn(play: Play): Case[] {
  return sites(play).map(({ call, when }) => killedAt(play, call, when));
}

function terminationsIn(play: Play): Case[] {
  return sites(play).map(({ call, when }) => terminatedAt(play, call, when));
}

export const killed: Group = {
  name: 'killed',
  title: 'the process killed or stopped at every call',
  concurrency: 2,
  cases: (extent) => {
    const kills = killsIn(SINGLE_USE);
    const terminations = terminationsIn(SINGLE_USE);
    if (extent === 'full') return [...kills, ...killsIn(REUSABLE), ...terminations];
    return [...everyNth(kills, 8, 7), ...everyNth(terminations, 18, 7)];
  },
};

export const killedV2: Group = {
  name: 'v2-killed',
  title: 'v2 keys: the process killed or stopped at every call',
  concurrency: 2,
  cases: (extent) => {
    const kills = [REFRESH, MINT].flatMap(killsIn);
    return extent === 'full' ? [...kills, ...terminationsIn(MINT)] : everyNth(kills, 24, 9);
  },
};
