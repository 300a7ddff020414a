/** Faults that simulations found. */
import { status } from '@grpc/grpc-js';
import { DAY, SECOND } from '../../src/duration';
import { TestBed, Worker, type OnCall, type TestBedOptions } from './test-bed';

describe('a run', () => {
  let worker: Worker;

  beforeAll(async () => {
    worker = await Worker.start();
  });

  afterAll(() => worker.stop());

  async function inTestBed(options: TestBedOptions, play: (bed: TestBed) => Promise<void>) {
    const bed = await TestBed.open(worker, options);
    await play(bed);
    expect(await bed.close()).toEqual([]);
  }

  /** Calls `act` once, before or after the first call of a method. */
  function at(method: string, when: 'before' | 'after', act: () => void): OnCall {
    let isDone = false;
    return (site) => {
      if (!isDone && site.method === method && site.when === when) {
        isDone = true;
        act();
      }
    };
  }

  it.each([
    ['AddSecretVersion', 'before', false],
    ['AccessSecretVersion', 'after', true],
    ['ListSecretVersions', 'before', true],
  ] as const)(
    "keeps the only version of a secret that was recreated (%s, %s), although the deleted secret's versions were newer",
    async (method, when, withCredential) => {
      await inTestBed({}, async (bed) => {
        const { secretManager, secret } = bed;
        const recreate = () => {
          secretManager.deleteSecret(secret.name);
          secretManager.createSecret(secret.name);
          if (withCredential) secretManager.addVersion(secret.name, bed.newPayload());
        };
        await bed.run({ onCall: at(method, when, () => bed.operator(recreate)) });
        expect(bed.states.at(-1)).toBe('ENABLED');
        await bed.runLast();
      });
    },
  );

  it('adds one version when every answer to its additions is lost', async () => {
    await inTestBed({}, async (bed) => {
      const run = await bed.run({
        onCall: ({ method, when }) =>
          method === 'AddSecretVersion' && when === 'after'
            ? { kind: 'error', code: status.UNAVAILABLE, when }
            : undefined,
      });
      expect(run.outcome).toBe('rotated');
      expect(bed.states.length).toBe(3);
      await bed.runLast();
    });
  });

  it('waits for a new key that is known after eight seconds', async () => {
    await inTestBed({}, async (bed) => {
      bed.momento.newKeyLagMs = 8 * SECOND;
      expect((await bed.run()).outcome).toBe('rotated');
      bed.momento.newKeyLagMs = 0;
      await bed.runLast();
    });
  });

  it('stores a new key that is known after a minute, because its refresh token is the only one', async () => {
    await inTestBed({ refreshTokens: 'single-use' }, async (bed) => {
      bed.momento.newKeyLagMs = 60 * SECOND;
      for (let run = 0; run < 3; run += 1) {
        expect((await bed.run()).code).toBe('NEW_KEY_REJECTED');
        bed.clock.advance(5 * SECOND);
      }
      bed.momento.newKeyLagMs = 0;
      bed.clock.advance(60 * SECOND);
      expect((await bed.runLast()).outcome).toBe('rotated');
      expect(bed.lostAnswers).toBe(0);
    });
  });

  it("revokes no key when a listed version isn't found by its number", async () => {
    await inTestBed({ renewal: 'mint', policy: { gracePeriodMs: 60 * DAY } }, async (bed) => {
      const run = await bed.run({
        onCall: ({ call, when }) =>
          when === 'before' && versionIn(call.request) === '2'
            ? { kind: 'error', code: status.NOT_FOUND, when }
            : undefined,
      });
      expect(run.outcome).toBe('rotated');
      expect(run.result.revoked).toBeUndefined();
      expect((await bed.runLast()).result.revoked).toHaveLength(2);
    });
  });
});

function versionIn(request: unknown): string | undefined {
  return /\/versions\/(\d+)$/.exec((request as { name?: string }).name ?? '')?.[1];
}
