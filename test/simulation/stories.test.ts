/** What the campaign found, each told as what happened. */
import { status } from '@grpc/grpc-js';
import { Scene, type Director, type SceneOptions } from './scene';
import { DAY, SECOND, Stage } from './stage';

describe('the story of', () => {
  let stage: Stage;

  beforeAll(async () => {
    stage = await Stage.start();
  });

  afterAll(() => stage.stop());

  async function told(options: SceneOptions, story: (scene: Scene) => Promise<void>) {
    const scene = await Scene.open(stage, options);
    await story(scene);
    expect(await scene.close()).toEqual([]);
  }

  /** Does something once, when a call is at that point. */
  function at(method: string, when: 'before' | 'after', act: () => void): Director {
    let isDone = false;
    return (site) => {
      if (!isDone && site.method === method && site.when === when) {
        isDone = true;
        act();
      }
      return undefined;
    };
  }

  it.each([
    ['AddSecretVersion', 'before', false],
    ['AccessSecretVersion', 'after', true],
    ['ListSecretVersions', 'before', true],
  ] as const)(
    'a person who deleted the secret and made it anew (at %s, %s), and whose first version was disabled for being older than a version of the deleted one',
    async (method, when, withCredential) => {
      await told({}, async (scene) => {
        const { secretManager, secret } = scene;
        const anew = () => {
          secretManager.deleteSecret(secret.name);
          secretManager.createSecret(secret.name);
          if (withCredential) secretManager.addVersion(secret.name, scene.credential());
        };
        await scene.run({ strike: at(method, when, () => scene.person(anew)) });
        expect(scene.states.at(-1)).toBe('ENABLED');
        await scene.runLast();
      });
    },
  );

  it('an add whose every answer was lost, and that stored a hundred copies', async () => {
    await told({}, async (scene) => {
      const run = await scene.run({
        strike: ({ method, when }) =>
          method === 'AddSecretVersion' && when === 'after'
            ? { kind: 'error', code: status.UNAVAILABLE, when }
            : undefined,
      });
      expect(run.outcome).toBe('rotated');
      expect(scene.versions).toBe(3);
      await scene.runLast();
    });
  });

  it('a new key that took eight of its ten seconds to be known, and was given up before', async () => {
    await told({}, async (scene) => {
      scene.momento.newKeyLagMs = 8 * SECOND;
      expect((await scene.run()).outcome).toBe('rotated');
      scene.momento.newKeyLagMs = 0;
      await scene.runLast();
    });
  });

  it('a new key that took a minute to be known, and was dropped with the only refresh token there was', async () => {
    await told({ refreshTokens: 'single-use' }, async (scene) => {
      scene.momento.newKeyLagMs = 60 * SECOND;
      for (let run = 0; run < 3; run += 1) {
        expect((await scene.run()).code).toBe('NEW_KEY_REJECTED');
        scene.clock.advance(5 * SECOND);
      }
      scene.momento.newKeyLagMs = 0;
      scene.clock.advance(60 * SECOND);
      expect((await scene.runLast()).outcome).toBe('rotated');
      expect(scene.lostAnswers).toBe(0);
    });
  });

  it('a version that could not be found by its number, was in its list, and whose key was revoked', async () => {
    await told({ kind: 'mint', policy: { gracePeriodMs: 60 * DAY } }, async (scene) => {
      const run = await scene.run({
        strike: ({ call, when }) =>
          when === 'before' && versionAsked(call.request) === '2'
            ? { kind: 'error', code: status.NOT_FOUND, when }
            : undefined,
      });
      expect(run.outcome).toBe('rotated');
      expect(run.result.revoked).toBeUndefined();
      expect((await scene.runLast()).result.revoked).toHaveLength(2);
    });
  });
});

function versionAsked(request: unknown): string | undefined {
  return /\/versions\/(\d+)$/.exec((request as { name?: string }).name ?? '')?.[1];
}
