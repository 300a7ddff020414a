/** Time: keys expire, clocks differ, services lag. */
import { status } from '@grpc/grpc-js';
import { DAY, HOUR, MINUTE, SECOND } from '../../src/duration';
import type { Moment } from '../../emulators/faults';
import { MOMENTS, type CallSite } from './faults';
import { V1 } from './keys';
import { sample, testCase, type Case, type Group } from './simulation';
import type { Run, TestBed, TestBedOptions } from './test-bed';

const { calls: CALLS } = V1;

const TOKENS = ['reusable', 'single-use'] as const;

/** One line for each run that failed with another code than expected. */
function unexpected(runs: readonly Run[], expected: readonly string[]): string[] {
  return runs.flatMap(({ outcome, code }, index) =>
    code === undefined || expected.includes(code)
      ? []
      : [`invariant 4: run ${index + 1} is ${outcome} ${code}`],
  );
}

function storeNewCredential(bed: TestBed): void {
  bed.operator(() => void bed.secretManager.addVersion(bed.secret.name, bed.newPayload()));
}

const expired: Case = testCase('the key has expired', { lifeLeftMs: MINUTE }, async (bed) => {
  bed.invariants.excuse('the key expired between runs');
  bed.clock.advance(2 * MINUTE);
  const run = await bed.run();
  const violations =
    run.code === 'KEY_EXPIRED' ? [] : [`the run with an expired key is ${run.outcome}`];
  storeNewCredential(bed);
  await bed.runLast();
  return violations;
});

/** The key expires at a call of the run. Applications get the new key if it was stored before. */
function expiresAt([method, n]: CallSite, when: Moment): Case {
  const lifeLeftMs = MINUTE;
  return testCase(`the key expires ${when} ${method}#${n}`, { lifeLeftMs }, async (bed) => {
    const run = await bed.run({
      onCall: (site) => {
        if (site.method === method && site.n === n && site.when === when) {
          if (bed.states.length < 3) bed.invariants.excuse('the key expired');
          bed.clock.advance(lifeLeftMs);
        }
      },
    });
    // The jump of a minute can also exceed the time limit of the verification. The next run verifies the new key again.
    const codes = ['KEY_EXPIRED', 'DEADLINE_EXCEEDED', 'VERIFY_INCONCLUSIVE'];
    const violations = unexpected([run], codes);
    if (bed.states.length < 3) storeNewCredential(bed);
    await bed.runLast();
    return violations;
  });
}

/** The function's, the services' and Cloud Scheduler's clocks differ. */
function skewed(options: TestBedOptions, skewMs: number, schedulerSkewMs: number): Case {
  const { refreshTokens, policy } = options;
  const name =
    `the function's clock is ${skewMs / MINUTE} min ahead, Cloud Scheduler's ${schedulerSkewMs / MINUTE} min, ` +
    `${refreshTokens ?? ''}${policy === undefined ? '' : ', 5 min of grace'}`;
  return testCase(name, { ...options, isClockWrong: true }, async (bed) => {
    const { clock, invariants } = bed;
    const { monotonic, sleep } = clock;
    const own = { now: () => clock.now() + skewMs, monotonic, sleep };
    const instance = bed.newInstance({ clock: own });
    const runs: Run[] = [];
    for (let day = 0; day < 3; day += 1) {
      const headers = bed.scheduledNow(schedulerSkewMs);
      for (let repeat = 0; repeat < 2; repeat += 1) {
        runs.push(await bed.runOn(instance, headers));
        clock.advance(MINUTE);
      }
      clock.advance(DAY / 2);
    }
    clock.advance(HOUR);
    const last = await bed.runOn(instance, bed.scheduledNow(-DAY));
    invariants.checkLastRun(last, false);
    return unexpected(runs, []);
  });
}

/** Lists and `latest` lag by some changes. */
function stale(refreshTokens: (typeof TOKENS)[number], lists: number, latest: number): Case {
  const name = `lists are ${lists} and latest is ${latest} changes old, ${refreshTokens}`;
  return testCase(name, { refreshTokens }, async (bed) => {
    const { secretManager } = bed;
    const runs: Run[] = [];
    for (let turn = 0; turn < 5; turn += 1) {
      secretManager.staleLists = turn < 2 ? 0 : lists;
      secretManager.staleLatest = turn < 2 ? 0 : latest;
      runs.push(await bed.run());
      bed.clock.advance(MINUTE);
    }
    secretManager.staleLists = secretManager.staleLatest = 0;
    const isUsedTokenRead = refreshTokens === 'single-use' && lists > 0 && latest > 0;
    await bed.runLast();
    return unexpected(runs, isUsedTokenRead ? ['REFRESH_REFUSED', 'NO_ENABLED_VERSION'] : []);
  });
}

function lagging(refreshTokens: (typeof TOKENS)[number], seconds: number, restarts: boolean): Case {
  const name = `a new key is unknown for ${seconds} s, ${refreshTokens}${restarts ? ', new process' : ''}`;
  return testCase(name, { refreshTokens }, async (bed) => {
    bed.momento.newKeyLagMs = seconds * SECOND;
    const run = await bed.run();
    if (restarts) bed.restart();
    bed.clock.advance(HOUR);
    bed.momento.newKeyLagMs = 0;
    await bed.runLast({ lost: restarts && run.code === 'NEW_KEY_REJECTED' });
    return unexpected([run], seconds >= 10 ? ['NEW_KEY_REJECTED'] : []);
  });
}

/** Runs repeat before Momento accepts the new key. No run must lose the key. */
function laggingOverRuns(refreshTokens: (typeof TOKENS)[number]): Case {
  const name = `a new key is unknown for 60 s, ${refreshTokens}, runs 15 s apart`;
  return testCase(name, { refreshTokens }, async (bed) => {
    bed.momento.newKeyLagMs = 60 * SECOND;
    const runs: Run[] = [];
    for (let run = 0; run < 4; run += 1) {
      runs.push(await bed.run());
      bed.clock.advance(15 * SECOND);
    }
    bed.momento.newKeyLagMs = 0;
    bed.clock.advance(MINUTE);
    await bed.runLast();
    return unexpected(runs, ['NEW_KEY_REJECTED']);
  });
}

function rejectedAtFirst(times: number): Case {
  return testCase(`a new key is rejected ${times} times`, {}, async (bed) => {
    bed.momento.newKeyRejections = times;
    const run = await bed.run();
    bed.momento.newKeyRejections = 0;
    await bed.runLast();
    return unexpected([run], []);
  });
}

const delayedDestruction: Case = testCase(
  'a destruction is delayed by a TTL',
  { versionDestroyTtlMs: 2 * DAY },
  async (bed) => {
    const runs: Run[] = [];
    for (let run = 0; run < 12; run += 1) {
      runs.push(await bed.run());
      bed.clock.advance(DAY / 2);
    }
    await bed.runLast();
    const destroyed = bed.states.filter((state) => state === 'DESTROYED');
    return [
      ...unexpected(runs, []),
      ...(destroyed.length > 0 ? [] : ['nothing was destroyed in six days']),
    ];
  },
);

function graced(graceMs: number, everyMs: number): Case {
  const policy = { gracePeriodMs: graceMs, destroyAfterMs: DAY };
  return testCase(
    `${graceMs / HOUR} h of grace, a run every ${everyMs / HOUR} h`,
    { policy },
    async (bed) => {
      const runs: Run[] = [];
      let most = 0;
      for (let run = 0; run < 10; run += 1) {
        runs.push(await bed.run());
        const enabled = bed.states.filter((state) => state === 'ENABLED');
        most = Math.max(most, enabled.length);
        bed.clock.advance(everyMs);
      }
      const expected = 2 + Math.ceil(graceMs / everyMs);
      return [
        ...unexpected(runs, []),
        ...(most <= expected ? [] : [`${most} versions were enabled at a time`]),
      ];
    },
  );
}

/** Every call takes almost as long as it can, and the run still ends in time. */
function slowEverywhere(ms: number, timeoutMs: number, failing: boolean): Case {
  const name = `every call takes ${ms / SECOND} s of a timeout of ${timeoutMs / SECOND} s${failing ? ', every other fails' : ''}`;
  return testCase(name, { timeoutMs, refreshTokens: 'single-use' }, async (bed) => {
    const run = await bed.run({
      onCall: async ({ method, when, n }) => {
        // Momento's SDK waits up to 60 s for a refresh.
        if (when === 'before') await bed.clock.sleep(method === 'RefreshApiToken' ? 6 * ms : ms);
        return failing && when === 'before' && n % 2 === 1
          ? { kind: 'error', code: status.UNAVAILABLE, when }
          : undefined;
      },
    });
    await bed.runLast({ lost: run.code === 'CREDENTIAL_NOT_STORED' });
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

/** From this call on, every call is slow. */
function slowFrom([method, n]: CallSite, ms: number): Case {
  const timeoutMs = 120 * SECOND;
  return testCase(
    `all calls take ${ms / SECOND} s from ${method}#${n} on`,
    { timeoutMs },
    async (bed) => {
      let isSlow = false;
      await bed.run({
        onCall: async (site) => {
          isSlow ||= site.method === method && site.n === n;
          if (isSlow && site.when === 'before') await bed.clock.sleep(ms);
        },
      });
      await bed.runLast();
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
      ...CALLS.flatMap((call) => MOMENTS.map((when) => expiresAt(call, when))),
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
    return sample(all, extent, 7);
  },
};
