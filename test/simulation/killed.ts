/** The process is killed or stopped at every call. The function runs in a process of its own, as it is deployed. */
import { FunctionProcess } from '../function-process';
import type { Reply } from '../server-process';
import type { Moment } from '../../emulators/faults';
import { MOMENTS, type CallSite } from './faults';
import type { Ending } from './invariants';
import { MINT, V1, V1_REUSABLE, V2, type Kind } from './keys';
import { sample, testCase, type Case, type Group } from './simulation';
import type { TestBed } from './test-bed';

/** Cloud Run kills an instance this long after SIGTERM. */
const TERMINATION_MS = 10_000;

const NOT_REACHED = 'the run ended without this call';

/** Whether a refreshed key exists only in the memory of the process at this call. */
function isKeyInMemory([method, n]: CallSite, when: Moment): boolean {
  if (['RefreshApiToken', 'RefreshKey'].includes(method)) return when === 'after';
  // The run looks for a newer version while it verifies the key.
  const isVerification =
    ['ListCaches', 'VerifyKey'].includes(method) || (method === 'AccessSecretVersion' && n === 2);
  return isVerification || (method === 'AddSecretVersion' && when === 'before');
}

/**
 * This group runs in real time. The second look-up of references depends on how long the first revocations wait for the
 * rate limiter, and so on the machine's speed. The groups with the virtual clock cover it.
 */
const MINT_ONE_LOOKUP: Kind = { ...MINT, calls: MINT.calls.filter(([, n]) => n < 9) };

function start(bed: TestBed): Promise<FunctionProcess> {
  return FunctionProcess.start({ env: { ...bed.env, DESTROY_AFTER: '1d' } });
}

function ending({ status, body }: Reply, written: string): Ending {
  const { results } = body as { results: [{ outcome: string; error?: { code: string } }] };
  const [{ outcome, error }] = results;
  return { status, outcome, code: error?.code, written: [JSON.stringify(body), written] };
}

function killedAt({ name, options }: Kind, call: CallSite, when: Moment): Case {
  const [method, n] = call;
  return testCase(`${name}: SIGKILL ${when} ${method}#${n}`, options, async (bed) => {
    const [first, second] = await Promise.all([start(bed), start(bed)]);
    try {
      bed.onCalls(async (site) => {
        if (site.method !== method || site.n !== n || site.when !== when) return undefined;
        await first.stop();
        return { kind: 'hang', when };
      });
      const reply = await first.post().catch(() => undefined);
      if (reply !== undefined) return [NOT_REACHED];
      await first.exited;
      bed.onCalls(undefined);
      const last = ending(await second.post(), first.output + second.output);
      bed.invariants.ends(last, 0);
      const isSingleUse = options.renewal !== 'mint' && options.refreshTokens !== 'reusable';
      bed.invariants.checkLastRun(last, isSingleUse && isKeyInMemory(call, when));
      if (options.renewal === 'mint') await bed.runLast();
      return [];
    } finally {
      await Promise.all([first.stop(), second.stop()]);
    }
  });
}

function stoppedAt({ name, options }: Kind, [method, n]: CallSite, when: Moment): Case {
  return testCase(`${name}: SIGTERM ${when} ${method}#${n}`, options, async (bed) => {
    const process = await start(bed);
    let isReached = false as boolean;
    try {
      bed.onCalls((site) => {
        if (site.method !== method || site.n !== n || site.when !== when) return;
        isReached = true;
        process.signal('SIGTERM');
      });
      const reply = await process.post();
      if (!isReached) return [NOT_REACHED];
      const answeredAt = Date.now();
      const exit = await process.exited;
      const run = ending(reply, process.output);
      bed.invariants.ends(run, Date.now() - answeredAt - TERMINATION_MS);
      bed.invariants.checkLastRun(run, false);
      if (options.renewal === 'mint') await bed.runLast();
      return exit === 'SIGKILL' ? ['the process did not end'] : [];
    } finally {
      await process.stop();
    }
  });
}

const everywhere = (at: typeof killedAt, kinds: readonly Kind[]): Case[] =>
  kinds.flatMap((kind) =>
    kind.calls.flatMap((call) => MOMENTS.map((when) => at(kind, call, when))),
  );

export const killed: Group = {
  name: 'killed',
  title: 'the process killed or stopped at every call',
  concurrency: 2,
  cases: (extent) =>
    sample(
      [
        ...everywhere(killedAt, [V1, V1_REUSABLE, V2, MINT_ONE_LOOKUP]),
        ...everywhere(stoppedAt, [V1, MINT_ONE_LOOKUP]),
      ],
      extent,
      27,
    ),
};
