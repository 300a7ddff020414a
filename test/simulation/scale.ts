/** Many versions, many keys, many secrets: all work is bounded, and nobody waits for what he doesn't need. */
import { status } from '@grpc/grpc-js';
import type { Case, Group } from './campaign';
import { LIFETIME_MS, ROLE } from './beginnings';
import { ScaleBed, type Measured } from './scale-bed';
import { DAY, HOUR, MINUTE, SECOND } from './stage';

const BIG = 'projects/p/secrets/big';
const MANAGEMENT = 'projects/p/secrets/management';
const TERMS = { role: ROLE, lifetimeMs: LIFETIME_MS };

/** The last moment at which a run can issue a key: 60 s for the attempt, 30 s to store it, 15 s to answer. */
const LATEST_ISSUE_MS = 435 * SECOND;

function scaled(name: string, playBed: (bed: ScaleBed) => Promise<void>): Case {
  return {
    name,
    play: async () => {
      const bed = await ScaleBed.open();
      try {
        await playBed(bed);
      } finally {
        await bed.close();
      }
      return bed.violations;
    },
  };
}

function names(count: number, prefix = 'other'): string[] {
  return Array.from({ length: count }, (_, n) => `projects/p/secrets/${prefix}-${n}`);
}

/** Every secret, or those named, must have this outcome. */
function expectOutcome(
  bed: ScaleBed,
  { results }: Measured,
  outcome: string,
  secrets?: readonly string[],
): void {
  const others = results.filter(
    (result) => (secrets?.includes(result.secret) ?? true) && result.outcome !== outcome,
  );
  const [first] = others;
  if (first === undefined) return;
  const end = `${first.outcome} ${first.error?.code ?? ''}`;
  bed.violations.push(`${others.length} secrets aren't ${outcome}, ${first.secret} is ${end}`);
}

/** Many due versions of one secret, and other secrets in the same project. */
function manyDueVersions(due: number, stale: number): Case {
  const name = `${due} due versions, 600 writes a minute, 200 other secrets, ${stale} changes stale`;
  return scaled(name, async (bed) => {
    const others = names(200);
    bed.v1Secret(BIG, due);
    for (const other of others) bed.v1Secret(other);
    const { secretManager } = bed;
    secretManager.quotas = { writesPerMinute: 600, readsPerMinute: 600 };
    bed.deploy({ secrets: [BIG, ...others].map((secret) => ({ name: secret })) });
    if (stale > 0) {
      secretManager.staleLists = secretManager.staleLatest = stale;
      bed.expectBounds(await bed.run());
      secretManager.staleLists = secretManager.staleLatest = 0;
      // The quota of reads is a minute's, and the first run has used most of it.
      bed.clock.advance(MINUTE);
    }
    const run = await bed.run();
    bed.expectBounds(run);
    expectOutcome(bed, run, 'rotated');
    // One addition for each secret; the version that was the newest is due as well.
    const needed = 201 + (due + 1) + 200 * 2;
    const { writes } = run.secretManager;
    bed.expect(writes <= needed, `${writes} writes were sent for ${needed} changes`);
    // Additions go first, so they end as if there were no others.
    const lastAdd = run.secretManager.last('AddSecretVersion');
    bed.expect(lastAdd <= 60 * SECOND, `a version was added at ${lastAdd / SECOND} s`);
    const enabled = secretManager.versions(BIG).filter(({ state }) => state === 'ENABLED');
    bed.expect(enabled.length === 1, `${enabled.length} versions are enabled in the end`);
  });
}

/** Revocation looks up who contains a key, in every version. */
function manyReferences(versions: number, orphans: number, stale: number): Case {
  const name = `${versions} versions, ${orphans} orphaned keys, ${stale} changes stale`;
  return scaled(name, async (bed) => {
    bed.managementKey(MANAGEMENT);
    bed.mintedSecret(BIG, { olderVersions: versions - 1, orphans });
    const { secretManager } = bed;
    secretManager.quotas = { accessesPerMinute: 90_000, readsPerMinute: 600 };
    bed.deploy({
      secrets: [{ name: BIG, ...TERMS }],
      managementKey: MANAGEMENT,
      policy: { gracePeriodMs: 400 * DAY, revoke: true },
    });
    // The rest: latest, the management key, and for each batch whether there is a newer version.
    const batches = Math.ceil(orphans / 5);
    const run = async (): Promise<Measured> => {
      const measured = await bed.run();
      bed.expectBounds(measured);
      const bound = secretManager.versions(BIG).length * (1 + batches) + batches + 10;
      const reads = measured.secretManager.count('AccessSecretVersion', 'GetSecretVersion');
      bed.expect(reads <= bound, `${reads} reads, at most ${bound} are allowed`);
      return measured;
    };
    if (stale > 0) {
      // Nothing is revoked for what a stale read doesn't show: that is judged for every run.
      secretManager.staleLists = secretManager.staleLatest = stale;
      await run();
      secretManager.staleLists = secretManager.staleLatest = 0;
      bed.clock.advance(HOUR);
    }
    expectOutcome(bed, await run(), 'rotated');
    bed.expect(bed.orphansOf(BIG) === 0, `${bed.orphansOf(BIG)} orphaned keys are left`);
  });
}

/** More orphaned keys than one run can revoke, and secrets whose keys are minted. */
const manyOrphans = scaled(
  '2,700 orphaned keys in a run of 525 s, 60 secrets to mint',
  async (bed) => {
    const others = names(60);
    bed.managementKey(MANAGEMENT);
    bed.mintedSecret(BIG, { orphans: 2700, lifeLeftMs: 29 * DAY });
    for (const other of others) bed.mintedSecret(other);
    bed.deploy({
      secrets: [BIG, ...others].map((secret) => ({ name: secret, ...TERMS })),
      managementKey: MANAGEMENT,
      policy: { gracePeriodMs: HOUR, revoke: true, renewBefore: { minimumMs: 2 * DAY } },
    });
    const first = await bed.run();
    bed.expectBounds(first);
    expectOutcome(bed, first, 'rotated', others);
    const lastMint = first.keyApi.last('CreateKey');
    bed.expect(lastMint <= LATEST_ISSUE_MS, `a key was minted at ${lastMint / SECOND} s`);
    // Revocations go last: 60 keys to mint and to verify take 27 s at 5 in 1.1 s.
    bed.expect(
      lastMint <= 60 * SECOND,
      `minting waited for revocations until ${lastMint / SECOND} s`,
    );
    const left = bed.orphansOf(BIG);
    // 5 in 1.1 s and the look before them are 450 batches in 510 s, less the 180 calls for 60 minted keys.
    bed.expect(left <= 700, `${left} orphaned keys are left after the first run`);
    bed.clock.advance(HOUR);
    const second = await bed.run();
    bed.expectBounds(second);
    expectOutcome(bed, second, 'not_due');
    bed.expect(bed.orphansOf(BIG) === 0, `${bed.orphansOf(BIG)} orphaned keys are left in the end`);
  },
);

/** Momento's key API throttles for ever. */
const lastingThrottling = scaled(
  'a lasting 429, 80 secrets to mint before 20 v1 secrets',
  async (bed) => {
    const [minted, v1] = [names(80, 'minted'), names(20, 'v1')];
    bed.managementKey(MANAGEMENT);
    for (const name of minted) bed.mintedSecret(name);
    for (const name of v1) bed.v1Secret(name);
    bed.strike = ({ service }, when) =>
      service === 'keyapi' && when === 'before'
        ? { kind: 'status', status: 429, retryAfter: '1', when }
        : undefined;
    bed.deploy({
      secrets: [...minted.map((name) => ({ name, ...TERMS })), ...v1.map((name) => ({ name }))],
      managementKey: MANAGEMENT,
    });
    const run = await bed.run();
    bed.expectBounds(run);
    expectOutcome(bed, run, 'rotated', v1);
    expectOutcome(bed, run, 'failed', minted);
    // An addition and a disabling for each of 20 secrets.
    const last = run.secretManager.last('DisableSecretVersion');
    bed.expect(last <= 10 * SECOND, `v1 secrets waited for the key API until ${last / SECOND} s`);
  },
);

/** A credential that couldn't be stored, many versions, and a service that shows an old state afterwards. */
function unsavedCredential(versions: number, stale: number): Case {
  const name = `an unsaved credential, ${versions} versions, reads ${stale} changes stale`;
  return scaled(name, async (bed) => {
    bed.momento.refreshTokens = 'single-use';
    bed.v1Secret(BIG, versions - 1);
    const { secretManager } = bed;
    bed.deploy({ secrets: [{ name: BIG }] });
    bed.strike = ({ method }, when) =>
      method === 'AddSecretVersion' && when === 'before'
        ? { kind: 'error', code: status.UNAVAILABLE, when }
        : undefined;
    const first = await bed.run();
    bed.expectBounds(first);
    expectOutcome(bed, first, 'failed');
    bed.strike = undefined;
    secretManager.staleLists = secretManager.staleLatest = stale;
    const second = await bed.run();
    bed.expectBounds(second);
    secretManager.staleLists = secretManager.staleLatest = 0;
    bed.clock.advance(HOUR);
    const third = await bed.run();
    bed.expectBounds(third);
    expectOutcome(bed, third, 'rotated');
    bed.expectRefreshable(BIG);
  });
}

export const scale: Group = {
  name: 'scale',
  title: 'many versions, many keys, many secrets',
  concurrency: 1,
  caseLimitMs: 600_000,
  cases: (extent) => {
    const quick = [
      manyReferences(365, 100, 2),
      lastingThrottling,
      unsavedCredential(40, 1),
      unsavedCredential(40, 30),
    ];
    if (extent === 'short') return quick;
    return [
      ...quick,
      manyOrphans,
      manyDueVersions(2000, 0),
      manyDueVersions(2000, 2),
      manyDueVersions(3000, 0),
      manyReferences(365, 100, 0),
      manyReferences(10_000, 20, 0),
      unsavedCredential(2000, 1),
      unsavedCredential(2000, 50),
    ];
  },
};
