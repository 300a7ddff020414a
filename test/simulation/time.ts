/** Time: keys expire, clocks differ, services lag. */
import { status } from '@grpc/grpc-js';
import type { Moment } from '../../emulators/faults';
import { everyNth, scene, type Case, type Group } from './campaign';
import { CALLS } from './every-call';
import type { Run, Scene, SceneOptions } from './scene';
import { DAY, HOUR, MINUTE, SECOND } from './stage';

const TOKENS = ['reusable', 'single-use'] as const;

/** Runs that an operator would see, one line for each that is not as expected. */
function unexpected(runs: readonly Run[], expected: readonly string[]): string[] {
  return runs.flatMap(({ outcome, code }, index) =>
    code === undefined || expected.includes(code)
      ? []
      : [`invariant 4: run ${index + 1} is ${outcome} ${code}`],
  );
}

function storeNewCredential(played: Scene): void {
  played.person(() => played.secretManager.addVersion(played.secret.name, played.credential()));
}

const expired: Case = scene('the key has expired', { lifeLeftMs: MINUTE }, async (played) => {
  played.invariants.excuse('the key expired with nobody looking');
  played.clock.advance(2 * MINUTE);
  const run = await played.run();
  const violations = run.code === 'KEY_EXPIRED' ? [] : [`not told that it expired: ${run.outcome}`];
  storeNewCredential(played);
  await played.runLast();
  return violations;
});

/** The key expires when the run is at a call: what was issued by then serves readers, otherwise a person is told. */
function expiresAt([method, n]: (typeof CALLS)[number], when: Moment): Case {
  const lifeLeftMs = MINUTE;
  return scene(`the key expires ${when} ${method}#${n}`, { lifeLeftMs }, async (played) => {
    const run = await played.run({
      strike: (site) => {
        if (site.method === method && site.n === n && site.when === when) {
          if (played.versions < 3) played.invariants.excuse('the key expired');
          played.clock.advance(lifeLeftMs);
        }
        return undefined;
      },
    });
    const violations = unexpected([run], ['KEY_EXPIRED', 'DEADLINE_EXCEEDED']);
    if (played.secretManager.versions(played.secret.name).length < 3) storeNewCredential(played);
    await played.runLast();
    return violations;
  });
}

/** The function's clock is not that of the services, and Cloud Scheduler's is a third. */
function skewed(options: SceneOptions, skewMs: number, schedulerSkewMs: number): Case {
  const { refreshTokens, policy } = options;
  const name =
    `the function's clock is ${skewMs / MINUTE} min ahead, Cloud Scheduler's ${schedulerSkewMs / MINUTE} min, ` +
    `${refreshTokens ?? ''}${policy === undefined ? '' : ', 5 min of grace'}`;
  return scene(name, { ...options, isClockRight: false }, async (played) => {
    const { clock, invariants } = played;
    const { monotonic, sleep } = clock;
    const own = { now: () => clock.now() + skewMs, monotonic, sleep };
    const instance = played.newInstance({ clock: own });
    const runs: Run[] = [];
    for (let day = 0; day < 3; day += 1) {
      const scheduled = new Date(clock.now() + schedulerSkewMs).toISOString();
      for (let repeat = 0; repeat < 2; repeat += 1) {
        runs.push(await played.runOn(instance, { 'x-cloudscheduler-scheduletime': scheduled }));
        clock.advance(MINUTE);
      }
      clock.advance(DAY / 2);
    }
    clock.advance(HOUR);
    const last = await played.runOn(instance, {
      'x-cloudscheduler-scheduletime': new Date(clock.now() - DAY).toISOString(),
    });
    invariants.judgeLastRun(last, false);
    return unexpected(runs, []);
  });
}

/** Lists and `latest` show what was some changes ago. */
function stale(refreshTokens: (typeof TOKENS)[number], lists: number, latest: number): Case {
  const name = `lists are ${lists} and latest is ${latest} changes old, ${refreshTokens}`;
  return scene(name, { refreshTokens }, async (played) => {
    const { secretManager } = played;
    const runs: Run[] = [];
    for (let turn = 0; turn < 5; turn += 1) {
      // At first there is no change that could be missed but those of long ago.
      secretManager.staleLists = turn < 2 ? 0 : lists;
      secretManager.staleLatest = turn < 2 ? 0 : latest;
      runs.push(await played.run());
      played.clock.advance(MINUTE);
    }
    secretManager.staleLists = secretManager.staleLatest = 0;
    const isSpentTokenSeen = refreshTokens === 'single-use' && lists > 0 && latest > 0;
    await played.runLast();
    return unexpected(runs, isSpentTokenSeen ? ['REFRESH_REFUSED', 'NO_ENABLED_VERSION'] : []);
  });
}

function lagging(refreshTokens: (typeof TOKENS)[number], seconds: number, restarts: boolean): Case {
  const name = `a new key is unknown for ${seconds} s, ${refreshTokens}${restarts ? ', new process' : ''}`;
  return scene(name, { refreshTokens }, async (played) => {
    played.momento.newKeyLagMs = seconds * SECOND;
    const run = await played.run();
    if (restarts) played.restart();
    played.clock.advance(HOUR);
    played.momento.newKeyLagMs = 0;
    await played.runLast({ lost: restarts && run.code === 'NEW_KEY_REJECTED' });
    return unexpected([run], seconds >= 10 ? ['NEW_KEY_REJECTED'] : []);
  });
}

/** The run is repeated before the key is known: what was issued is not given up for that. */
function laggingOverRuns(refreshTokens: (typeof TOKENS)[number]): Case {
  const name = `a new key is unknown for 60 s, ${refreshTokens}, runs 15 s apart`;
  return scene(name, { refreshTokens }, async (played) => {
    played.momento.newKeyLagMs = 60 * SECOND;
    const runs: Run[] = [];
    for (let run = 0; run < 4; run += 1) {
      runs.push(await played.run());
      played.clock.advance(15 * SECOND);
    }
    played.momento.newKeyLagMs = 0;
    played.clock.advance(MINUTE);
    await played.runLast();
    return unexpected(runs, ['NEW_KEY_REJECTED']);
  });
}

function rejectedAtFirst(times: number): Case {
  return scene(`a new key is rejected ${times} times`, {}, async (played) => {
    played.momento.newKeyRejections = times;
    const run = await played.run();
    played.momento.newKeyRejections = 0;
    await played.runLast();
    return unexpected([run], []);
  });
}

const delayedDestruction: Case = scene(
  'a destruction is delayed by a TTL',
  { versionDestroyTtlMs: 2 * DAY },
  async (played) => {
    const runs: Run[] = [];
    for (let run = 0; run < 12; run += 1) {
      runs.push(await played.run());
      played.clock.advance(DAY / 2);
    }
    await played.runLast();
    const destroyed = played.states.filter((state) => state === 'DESTROYED');
    return [
      ...unexpected(runs, []),
      ...(destroyed.length > 0 ? [] : ['nothing was destroyed in six days']),
    ];
  },
);

function graced(graceMs: number, everyMs: number): Case {
  const policy = { gracePeriodMs: graceMs, destroyAfterMs: DAY };
  return scene(
    `${graceMs / HOUR} h of grace, a run every ${everyMs / HOUR} h`,
    { policy },
    async (played) => {
      const runs: Run[] = [];
      let most = 0;
      for (let run = 0; run < 10; run += 1) {
        runs.push(await played.run());
        const enabled = played.states.filter((state) => state === 'ENABLED');
        most = Math.max(most, enabled.length);
        played.clock.advance(everyMs);
      }
      const expected = 2 + Math.ceil(graceMs / everyMs);
      return [
        ...unexpected(runs, []),
        ...(most <= expected ? [] : [`${most} versions were enabled at a time`]),
      ];
    },
  );
}

/** Every call takes almost as long as it may; the run has to end in time nevertheless. */
function slowEverywhere(ms: number, timeoutMs: number, failing: boolean): Case {
  const name = `every call takes ${ms / SECOND} s of a timeout of ${timeoutMs / SECOND} s${failing ? ', every other fails' : ''}`;
  return scene(name, { timeoutMs, refreshTokens: 'single-use' }, async (played) => {
    const run = await played.run({
      strike: async ({ method, when, n }) => {
        // A refresh may take the 60 s that Momento's SDK gives it.
        if (when === 'before') await played.clock.sleep(method === 'RefreshApiToken' ? 6 * ms : ms);
        return failing && when === 'before' && n % 2 === 1
          ? { kind: 'error', code: status.UNAVAILABLE, when }
          : undefined;
      },
    });
    await played.runLast({ lost: run.code === 'CREDENTIAL_NOT_STORED' });
    return unexpected(
      [run],
      [
        'DEADLINE_EXCEEDED',
        'SECRET_MANAGER_UNAVAILABLE',
        'MOMENTO_UNAVAILABLE',
        'VERIFY_INCONCLUSIVE',
        'CREDENTIAL_NOT_STORED',
      ],
    );
  });
}

/** Nothing is answered fast from this call on: how close to the deadline does the run get? */
function slowFrom([method, n]: (typeof CALLS)[number], ms: number): Case {
  const timeoutMs = 120 * SECOND;
  return scene(
    `all calls take ${ms / SECOND} s from ${method}#${n} on`,
    { timeoutMs },
    async (played) => {
      let isSlow = false;
      await played.run({
        strike: async (site) => {
          isSlow ||= site.method === method && site.n === n;
          if (isSlow && site.when === 'before') await played.clock.sleep(ms);
          return undefined;
        },
      });
      await played.runLast();
      return [];
    },
  );
}

export const time: Group = {
  name: 'time',
  title: 'expiry, clock skew, stale reads, lag, delays, slowness',
  concurrency: 4,
  cases: (extent) => {
    const all = [
      expired,
      ...CALLS.flatMap((call) =>
        (['before', 'after'] as const).map((when) => expiresAt(call, when)),
      ),
      ...TOKENS.flatMap((refreshTokens) =>
        [-5, 0, 5].flatMap((skew) =>
          [-5, 0, 5].flatMap((schedulerSkew) => [
            skewed({ refreshTokens }, skew * MINUTE, schedulerSkew * MINUTE),
            skewed(
              { refreshTokens, policy: { gracePeriodMs: 5 * MINUTE, destroyAfterMs: DAY } },
              skew * MINUTE,
              schedulerSkew * MINUTE,
            ),
          ]),
        ),
      ),
      ...TOKENS.flatMap((refreshTokens) =>
        [0, 1, 2, 3, 4].flatMap((lists) =>
          [0, 1, 2, 3, 4].map((latest) => stale(refreshTokens, lists, latest)),
        ),
      ),
      ...TOKENS.flatMap((refreshTokens) =>
        [0.5, 2, 5, 8, 15, 60].flatMap((seconds) => [
          lagging(refreshTokens, seconds, false),
          lagging(refreshTokens, seconds, true),
        ]),
      ),
      ...TOKENS.map(laggingOverRuns),
      ...[1, 2, 3, 5].map(rejectedAtFirst),
      delayedDestruction,
      ...[1, 6, 48].flatMap((grace) => [6, 24].map((every) => graced(grace * HOUR, every * HOUR))),
      ...[120, 180, 540].flatMap((timeout) =>
        [5, 9.9].flatMap((seconds) => [
          slowEverywhere(seconds * SECOND, timeout * SECOND, false),
          slowEverywhere(seconds * SECOND, timeout * SECOND, true),
        ]),
      ),
      ...CALLS.map((call) => slowFrom(call, 9.9 * SECOND)),
    ];
    return extent === 'full' ? all : everyNth(all, 7);
  },
};
