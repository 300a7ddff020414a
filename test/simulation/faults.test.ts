import { RotationError } from '../../src/errors';
import { play } from './campaign';
import { GROUPS } from './groups';
import { Invariants } from './invariants';
import { EVERY_CALL, Scene, type Run } from './scene';
import { MINUTE, Stage } from './stage';

jest.setTimeout(60_000);

test('no two cases of a group have one name, by which a failure is repeated', () => {
  for (const group of GROUPS) {
    const names = group.cases('full').map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
  }
});

/** Rotations that are broken on purpose: the judge has to find out. */
describe('the judge', () => {
  let stage: Stage;
  let scene: Scene;

  beforeAll(async () => {
    stage = await Stage.start();
  });

  beforeEach(async () => {
    scene = await Scene.open(stage, { policy: EVERY_CALL });
  });

  afterEach(() => scene.close());

  afterAll(() => stage.stop());

  const disable = (version: string) =>
    scene.secretManager.setState(scene.secret.name, version, 'DISABLED');
  const add = () => scene.secretManager.addVersion(scene.secret.name, scene.credential());
  const ending = (fields: Partial<Run> = {}) => ({
    status: 200,
    outcome: 'rotated',
    code: undefined,
    written: [],
    ...fields,
  });

  it('has nothing to say of a good rotation', async () => {
    await scene.runLast();
    expect(await scene.close()).toEqual([]);
    expect(scene.invariants.changes).toBeGreaterThanOrEqual(4);
    scene = await Scene.open(stage);
  });

  it('sees a rotation that disables before it adds', () => {
    disable('2');
    add();
    expect(scene.invariants.violations).toEqual([
      'invariant 2: the newest, 2, became DISABLED',
      'invariant 1: readers of latest get an error, after a change',
    ]);
  });

  it('sees a rotation that destroys the newest', () => {
    add();
    scene.secretManager.setState(scene.secret.name, '3', 'DESTROYED');
    expect(scene.invariants.violations).toContain('invariant 2: the newest, 3, became DESTROYED');
  });

  it('sees a rotation that rolls back', () => {
    add();
    disable('3');
    expect(scene.invariants.violations).toContain(
      'invariant 1: readers of latest get an error, after a change',
    );
  });

  it('sees a rotation that adds a key which Momento does not know', () => {
    const credential = { apiKey: 'unknown', refreshToken: 'unknown' };
    scene.secretManager.addVersion(scene.secret.name, JSON.stringify(credential));
    expect(scene.invariants.violations).toEqual([
      'invariant 1: readers of latest get a key that Momento rejects, after a change',
    ]);
  });

  it('sees a rotation that adds a key before it is known everywhere', async () => {
    scene.momento.newKeyLagMs = 3000;
    const payload = scene.secretManager.latest(scene.secret.name);
    const keys = scene.newKeys();
    const version = { number: 2, state: 'ENABLED', createdAt: 0 } as const;
    const credential = keys.parse(payload ?? Buffer.alloc(0));
    const secret = { ...scene.secret, payload: 'json' } as const;
    const next = await keys.open(undefined).nextKey(secret, { version, credential });
    if (next instanceof RotationError) throw next;
    const issued = await next.issue({ deadline: scene.clock.monotonic() + MINUTE });
    scene.secretManager.addVersion(scene.secret.name, Buffer.from(issued.credential.serialize()));
    expect(scene.invariants.violations).toHaveLength(1);
  });

  it('sees a rotation that disables what a person added meanwhile', async () => {
    await scene.run({
      strike: ({ method, when, n }) => {
        if (method !== 'AccessSecretVersion' || n !== 2 || when !== 'after') return undefined;
        scene.person(() => add());
        disable('3');
        return undefined;
      },
    });
    expect(scene.invariants.violations).toContain(
      'invariant 3: 3, which a person added meanwhile, became DISABLED',
    );
  });

  it('blames no run for what a person does', () => {
    scene.person(() => disable('2'));
    scene.invariants.ends(ending(), 0);
    expect(scene.invariants.violations).toEqual([]);
  });

  it('sees a rotation that retires nothing', () => {
    add();
    scene.invariants.judgeLastRun(ending(), false);
    expect(scene.invariants.violations).toEqual(['invariant 4: still enabled after rotated: 2']);
  });

  it('sees a rotation that stores a spent refresh token', () => {
    const { name } = scene.secret;
    const [newest] = scene.secretManager.versions(name);
    const fields = JSON.parse(newest?.payload?.toString() ?? '') as object;
    scene.secretManager.addVersion(name, JSON.stringify({ ...fields, refreshToken: 'spent' }));
    disable('2');
    scene.invariants.judgeLastRun(ending(), false);
    expect(scene.invariants.violations).toEqual([
      'invariant 4: the newest credential cannot be refreshed after rotated',
    ]);
  });

  it('sees a lost token of which nobody is told', () => {
    const { name } = scene.secret;
    const [newest] = scene.secretManager.versions(name);
    const fields = JSON.parse(newest?.payload?.toString() ?? '') as object;
    scene.secretManager.addVersion(name, JSON.stringify({ ...fields, refreshToken: 'spent' }));
    scene.invariants.judgeLastRun(ending({ outcome: 'not_due' }), true);
    expect(scene.invariants.violations).toEqual([
      'invariant 4: the token is spent, and the run says not_due ',
    ]);
  });

  it.each<[string, (secret: string) => string]>([
    ['a key', (secret) => `issued ${secret}`],
    ['a piece of a key', (secret) => `issued ${secret.slice(100, 108)}...`],
    ['an encoded key', (secret) => Buffer.from(secret).toString('hex')],
  ])('sees a rotation that writes %s', (_, write) => {
    const [secret = ''] = scene.momento.secrets();
    scene.invariants.ends(ending({ written: [write(secret)] }), 0);
    scene.invariants.judgeWritten();
    expect(scene.invariants.violations).toContainEqual(
      expect.stringMatching(/^invariant 5: text 0 /),
    );
  });

  it('sees a run that ends too late, and one that never ends', async () => {
    scene.invariants.ends(ending(), 1000);
    expect(scene.invariants.violations).toEqual(['invariant 6: the run ended 1000 ms too late']);
    const group = { name: 'g', title: 't', concurrency: 1, cases: () => [] };
    const hangs = { name: 'hangs', play: () => new Promise<never>(() => undefined) };
    const score = await play(group, [hangs], 50);
    expect(score.failures).toMatchObject([
      { case: 'hangs', violations: ['invariant 6: no end within 0.05 s'] },
    ]);
  });

  it('sees a first version that is no good', () => {
    disable('2');
    const { secretManager, momento, secret } = scene;
    const late = new Invariants({ secretManager, momento, secret: secret.name });
    late.stop();
    expect(late.violations).toEqual(['invariant 1: readers of latest get an error, at the start']);
  });

  it('fails a case that throws', async () => {
    const group = { name: 'g', title: 't', concurrency: 1, cases: () => [] };
    const throws = { name: 'throws', play: () => Promise.reject(new Error('broken')) };
    const score = await play(group, [throws]);
    expect(score).toMatchObject({ tried: 1, failed: 1 });
  });
});
