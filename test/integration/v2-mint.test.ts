import { status } from '@grpc/grpc-js';
import { ENDPOINT } from '../emulators/account';
import type { Fault } from '../emulators/faults';
import { DAY, HOUR, MINUTE, REVOKES, ROLE, World } from './v2-support';

const world = new World();

const TERMS = { role: ROLE, lifetimeMs: 10 * DAY };

describe('a key is minted', () => {
  it.each([
    ['apiJson', ['api_key', 'key_info']],
    ['consoleJson', ['apiKey', 'validUntil', 'restEndpoint']],
  ] as const)('and written back as %s, without a refresh token', async (form, names) => {
    const secret = world.held(TERMS, {}, form);
    const result = await world.rotate(secret, { managementKey: world.managementKey() });
    const { info, apiKey, refreshToken } = world.keyOf(secret);
    expect(result).toMatchObject({
      outcome: 'rotated',
      issuedBy: 'mint',
      keyId: info.key_id,
      verified: true,
      expiresAt: new Date((info.expires_at_epoch_seconds ?? 0) * 1000).toISOString(),
      disabled: ['1'],
    });
    const fields = world.fields(secret);
    expect(Object.keys(fields).toSorted()).toEqual([...names].toSorted());
    expect(Object.values(fields)).toContain(apiKey);
    expect(refreshToken).toBeUndefined();
  });

  it('and written back as a bare key', async () => {
    const secret = world.held(TERMS, {}, 'apiKey');
    await world.rotate(secret, { managementKey: world.managementKey() });
    expect(world.payload(secret)).toBe(world.keyOf(secret).apiKey);
  });

  it('of the role, for the time and with the description that it was asked for', async () => {
    const secret = world.held(TERMS, { role: 'r-operator' });
    await world.rotate(secret, { managementKey: world.managementKey() });
    const { info } = world.keyOf(secret);
    expect(info).toMatchObject({
      role_id: ROLE,
      description: `momento-key-rotator ${secret.name}`,
    });
    const lifetime = (info.expires_at_epoch_seconds ?? 0) - info.issued_at_epoch_seconds;
    expect(Math.abs(lifetime - (10 * DAY) / 1000)).toBeLessThanOrEqual(1);
  });

  it.each(['json', 'key'] as const)('as the first of an empty secret, as %s', async (payload) => {
    const secret = world.secret({ ...TERMS, payload });
    const result = await world.rotate(secret, { managementKey: world.managementKey() });
    expect(result).toMatchObject({ outcome: 'rotated', version: '1', issuedBy: 'mint' });
    expect(result).not.toHaveProperty('previousVersion');
    const { apiKey, info } = world.keyOf(secret);
    const stored = world.payload(secret);
    if (payload === 'key') expect(stored).toBe(apiKey);
    else expect(JSON.parse(stored)).toEqual({ api_key: apiKey, key_info: info });
  });

  it('for a v1 key, where a role is configured', async () => {
    const { secret: name } = world.services.seed();
    const secret = { ...name, payload: 'json', ...TERMS } as const;
    const result = await world.rotate(secret, { managementKey: world.managementKey() });
    expect(result).toMatchObject({ outcome: 'rotated', issuedBy: 'mint', disabled: ['1'] });
    expect(world.fields(secret).apiKey).toBe(world.keyOf(secret).apiKey);
    expect(world.fields(secret)).not.toHaveProperty('refreshToken');
  });

  it('for an expired key, which heals it', async () => {
    const secret = world.secret(TERMS);
    const { apiJson } = world.services.momento.issueV2Key({ lifetimeSeconds: 60 });
    world.services.secretManager.addVersion(secret.name, apiJson);
    world.services.clock.advance(HOUR);
    const managementKey = world.managementKey();
    expect(await world.rotate(secret, { managementKey })).toMatchObject({ outcome: 'rotated' });
    expect(world.services.momento.accepts(world.keyOf(secret).apiKey)).toBe(true);
  });
});

describe('role and lifetime', () => {
  const hours = (secret: Parameters<World['keyOf']>[0]) => {
    const { info } = world.keyOf(secret);
    return ((info.expires_at_epoch_seconds ?? 0) - info.issued_at_epoch_seconds) / 3600;
  };

  it.each([
    ['the payload', 'apiJson', 0],
    ["Momento's list", 'consoleJson', 1],
    ["Momento's list, for a bare key,", 'apiKey', 1],
  ] as const)('come from %s where nothing is configured', async (_, form, lists) => {
    const key = { role: 'r-owner', lifetimeSeconds: 50 * 3600 };
    const secret = world.held({}, key, form);
    // The host to prove the key with is named, so that the list is read for nothing else.
    const setup = { managementKey: world.managementKey(), endpoint: ENDPOINT };
    expect((await world.rotate(secret, setup)).outcome).toBe('rotated');
    expect(world.keyOf(secret).info.role_id).toBe('r-owner');
    expect(hours(secret)).toBeCloseTo(50, 2);
    expect(world.services.timesCalled('ListKeys')).toBe(lists);
  });

  it('are completed from the list, beyond its first page', async () => {
    for (let key = 0; key < 150; key += 1) world.services.momento.issueV2Key();
    const secret = world.held({ role: ROLE }, { lifetimeSeconds: 50 * 3600 }, 'apiKey');
    const setup = { managementKey: world.managementKey(), endpoint: ENDPOINT };
    expect((await world.rotate(secret, setup)).outcome).toBe('rotated');
    expect(hours(secret)).toBeCloseTo(50, 2);
    expect(world.services.timesCalled('ListKeys')).toBeGreaterThan(1);
  });

  it('that nothing tells are asked for, and nothing is made', async () => {
    const secret = world.held({}, {}, 'apiKey');
    const { key_id: id } = world.keyOf(secret).info;
    const gone = () => world.services.momento.account.revoke(id, 'person');
    // Readers are refused from then on: a person did that.
    const managementKey = world.managementKey();
    world.services.reset();
    gone();
    expect((await world.rotate(secret, { managementKey })).error?.code).toBe('ROLE_UNKNOWN');
    const configured = { ...secret, role: ROLE };
    expect((await world.rotate(configured, { managementKey })).error?.code).toBe(
      'LIFETIME_UNKNOWN',
    );
    expect(world.services.timesCalled('CreateKey')).toBe(0);
  });

  it('for a key that never expires: refused without a lifetime, due with one', async () => {
    const managementKey = world.managementKey();
    const secret = world.held({ role: ROLE }, { lifetimeSeconds: 'never' });
    const { key_id: id } = world.keyOf(secret).info;
    expect((await world.rotate(secret, { managementKey })).error?.code).toBe('LIFETIME_UNKNOWN');
    const policy = { renewBefore: { minimumMs: DAY } };
    const result = await world.rotate({ ...secret, ...TERMS }, { managementKey, policy });
    expect(result).toMatchObject({ outcome: 'rotated', reason: 'the key never expires' });
    expect(result.warnings).toEqual([expect.stringContaining(id)]);
    expect(world.keyOf(secret).info.expires_at_epoch_seconds).toBeDefined();
  });

  it('a role that Momento does not have is named as the reason', async () => {
    const managementKey = world.managementKey();
    const { error } = await world.rotate(world.held({ ...TERMS, role: 'r-none' }), {
      managementKey,
    });
    expect(error).toMatchObject({ code: 'MINT_REFUSED', retryable: false });
    expect(error?.message).toContain('no such role');
  });

  it('a role without a management key is refused', async () => {
    expect((await world.rotate(world.held(TERMS))).error?.code).toBe('MANAGEMENT_KEY_MISSING');
    expect((await world.rotate(world.secret(TERMS))).error?.code).toBe('MANAGEMENT_KEY_MISSING');
  });
});

describe('a limit at Momento that does not pass', () => {
  it('fails the secrets that need a key, and no other', async () => {
    const limit = { kind: 'status', status: 429, when: 'before' } as const;
    world.services.keyApi.faults.inject('CreateKey', 'every', limit);
    const { secret: name } = world.services.seed();
    const minted = Array.from({ length: 16 }, () => world.held(TERMS));
    const secrets = [...minted, { ...name, payload: 'json' } as const];
    const reports = await world.request(secrets, { managementKey: world.managementKey() });
    const codes = reports.map(({ result }) => result.error?.code ?? result.outcome);
    expect(codes).toEqual([...minted.map(() => 'MOMENTO_LIMIT_EXCEEDED'), 'rotated']);
  });
});

describe('a mint whose answer is lost', () => {
  it.each<[string, Fault]>([
    ['the connection is cut', { kind: 'drop', when: 'after' }],
    ['a 500', { kind: 'status', status: 500, when: 'after' }],
    ['half of it', { kind: 'half' }],
    ['no JSON', { kind: 'not-json' }],
    ['another answer', { kind: 'corrupt' }],
  ])('is repeated, and what it left behind is revoked an hour later: %s', async (_, lost) => {
    world.services.keyApi.faults.inject('CreateKey', 1, lost);
    const managementKey = world.managementKey();
    const secret = world.held(TERMS);
    const setup = { managementKey, policy: REVOKES };
    expect((await world.rotate(secret, setup)).outcome).toBe('rotated');
    expect(world.live(secret)).toHaveLength(2);
    world.services.clock.advance(HOUR + MINUTE);
    expect((await world.rotate(secret, setup)).revoked).toHaveLength(2);
    expect(world.live(secret)).toEqual([world.keyOf(secret).info.key_id]);
  });

  it('is not repeated without end', async () => {
    world.services.keyApi.faults.inject('CreateKey', 'every', { kind: 'drop', when: 'after' });
    const secret = world.held(TERMS);
    const { error } = await world.rotate(secret, { managementKey: world.managementKey() });
    expect(error?.code).toBe('MOMENTO_UNAVAILABLE');
    expect(world.services.timesCalled('CreateKey')).toBe(4);
  });
});

describe('a new key that no version will hold is revoked at once', () => {
  it('when Momento rejects it', async () => {
    world.services.keyApi.newKeyRejections = 1000;
    const secret = world.held(TERMS);
    const result = await world.rotate(secret, { managementKey: world.managementKey() });
    expect(result.error?.code).toBe('NEW_KEY_REJECTED');
    expect(result.revoked).toHaveLength(1);
    expect(world.live(secret)).toEqual([]);
  });

  it('when somebody else was first', async () => {
    const secret = world.held(TERMS);
    const { apiJson } = world.services.momento.issueV2Key();
    world.when('after CreateKey', () => world.store(secret, apiJson));
    const result = await world.rotate(secret, { managementKey: world.managementKey() });
    expect(result).toMatchObject({ outcome: 'superseded', version: '2' });
    expect(world.payload(secret)).toBe(apiJson);
    expect(world.live(secret)).toEqual([]);
  });

  it('but not when it may have been stored', async () => {
    const { secretManager } = world.services;
    const secret = world.held(TERMS);
    secretManager.grant(secret.name, [...secretManager.permissions(secret.name)]);
    world.when('after CreateKey', () => {
      const granted = [...secretManager.permissions(secret.name)];
      secretManager.grant(
        secret.name,
        granted.filter((one) => !one.endsWith('.add')),
      );
    });
    const result = await world.rotate(secret, { managementKey: world.managementKey() });
    expect(result.error?.code).toBe('PERMISSION_MISSING');
    expect(world.live(secret)).toHaveLength(1);
  });
});

describe('the management key', () => {
  it.each(['apiJson', 'consoleJson', 'apiKey'] as const)('is read as %s', async (form) => {
    const managementKey = world.held({}, { role: 'r-operator' }, form);
    expect((await world.rotate(world.held(TERMS), { managementKey })).outcome).toBe('rotated');
  });

  it('renews itself, in one request with others, and is revoked when nobody uses it', async () => {
    const managementKey = world.secret({ role: 'r-operator', lifetimeMs: 30 * DAY });
    const first = world.minted(managementKey, { age: 3 * HOUR });
    const { account } = world.services.momento;
    // A person made it, of the role that may manage keys.
    const { apiJson } = world.services.momento.issueV2Key({
      role: 'r-operator',
      description: `momento-key-rotator ${managementKey.name}`,
    });
    world.store(managementKey, apiJson);
    const old = world.keyOf(managementKey);
    const others = [world.held(TERMS), world.secret(TERMS)];
    const setup = { managementKey, policy: REVOKES };

    const request = async () => {
      const reports = await world.request([managementKey, ...others], setup);
      expect(reports.map(({ result }) => result.outcome)).toEqual([
        'rotated',
        'rotated',
        'rotated',
      ]);
      return reports.map(({ result }) => result);
    };
    const [itself] = await request();
    expect(itself?.revoked).toEqual([first.info.key_id]);
    expect(world.keyOf(managementKey).info.role_id).toBe('r-operator');
    // Those who read it before may still work with it.
    expect(account.isLive(old)).toBe(true);

    world.services.clock.advance(2 * HOUR);
    const [again] = await request();
    expect(again?.revoked).toContain(old.info.key_id);
    world.services.clock.advance(2 * HOUR);
    await request();
    expect(world.live(managementKey)).toHaveLength(2);
  });

  it.each<[string, () => { managementKey: ReturnType<World['managementKey']> }, string]>([
    ['has no version', () => ({ managementKey: world.secret() }), 'MANAGEMENT_KEY_INVALID'],
    [
      'has no enabled version',
      () => {
        const managementKey = world.secret();
        const { apiJson } = world.services.momento.issueV2Key({ role: 'r-operator' });
        world.services.secretManager.addVersion(managementKey.name, apiJson, { state: 'DISABLED' });
        return { managementKey };
      },
      'MANAGEMENT_KEY_INVALID',
    ],
    [
      'is a v1 key',
      () => ({ managementKey: world.services.seed().secret }),
      'MANAGEMENT_KEY_INVALID',
    ],
    [
      'is nonsense',
      () => {
        const managementKey = world.secret();
        world.services.secretManager.addVersion(managementKey.name, '{"api_key": "?"}');
        return { managementKey };
      },
      'MANAGEMENT_KEY_INVALID',
    ],
    [
      'has expired',
      () => {
        const managementKey = world.secret();
        const key = { role: 'r-operator', lifetimeSeconds: -60 };
        const { apiJson } = world.services.momento.issueV2Key(key);
        world.services.secretManager.addVersion(managementKey.name, apiJson);
        return { managementKey };
      },
      'MANAGEMENT_KEY_INVALID',
    ],
    [
      'was revoked',
      () => {
        const managementKey = world.secret();
        const { apiJson, keyInfo } = world.services.momento.issueV2Key({ role: 'r-operator' });
        world.services.secretManager.addVersion(managementKey.name, apiJson);
        world.services.momento.account.revoke(keyInfo.key_id, 'person');
        return { managementKey };
      },
      'MANAGEMENT_KEY_REFUSED',
    ],
    [
      'may not manage keys',
      () => ({ managementKey: world.managementKey('r-viewer') }),
      'MANAGEMENT_KEY_REFUSED',
    ],
    [
      'is gone',
      () => {
        const managementKey = world.secret();
        world.services.secretManager.deleteSecret(managementKey.name);
        return { managementKey };
      },
      'SECRET_NOT_FOUND',
    ],
  ])('that %s stops only what needs it', async (_, broken, code) => {
    const { managementKey } = broken();
    const { secret: name } = world.services.seed();
    const secrets = [{ ...name, payload: 'json' } as const, world.held(TERMS), world.secret(TERMS)];
    const reports = await world.request(secrets, { managementKey, policy: REVOKES });
    const codes = reports.map(({ result }) => result.error?.code);
    expect(codes).toEqual([undefined, code, code]);
    expect(reports[0]?.result.outcome).toBe('rotated');
    expect(world.services.timesCalled('CreateKey')).toBeLessThanOrEqual(2);
    expect(world.services.states(secrets[1] ?? name)).toEqual(['ENABLED']);
  });

  it('that nothing answers for is waited for only by what needs it', async () => {
    const managementKey = world.managementKey();
    const { secret: name } = world.services.seed();
    const secret = { ...name, payload: 'json' } as const;
    world.services.secretManager.faults.intercept = ({ request }) =>
      (request as { name?: string }).name?.startsWith(managementKey.name) === true
        ? { kind: 'error', code: status.RESOURCE_EXHAUSTED, when: 'before' }
        : undefined;
    const before = world.services.clock.now();
    const reports = await world.request([secret, world.secret(TERMS)], { managementKey });
    expect(reports.map(({ result }) => result.outcome)).toEqual(['rotated', 'failed']);
    expect(reports[1]?.result.error?.code).toBe('SECRET_MANAGER_QUOTA_EXCEEDED');
    expect(reports[0]?.durationMs).toBeLessThan(10_000);
    expect(world.services.clock.now() - before).toBeLessThan(3 * MINUTE);
  });

  it('that cannot be read for a while is read later', async () => {
    const managementKey = world.managementKey();
    world.when('before AccessSecretVersion', () => undefined);
    world.services.secretManager.faults.inject('AccessSecretVersion', 2, {
      kind: 'drop',
      when: 'before',
    });
    expect((await world.rotate(world.held(TERMS), { managementKey })).outcome).toBe('rotated');
  });
});

describe('a dry run', () => {
  it('says how the next key would be got and what would end, and does nothing', async () => {
    const managementKey = world.managementKey();
    const secret = world.held(TERMS);
    const orphan = world.minted(secret);
    const setup = { managementKey, policy: REVOKES };
    const result = await world.rotate(secret, setup, { dryRun: true });
    expect(result).toMatchObject({
      outcome: 'dry_run',
      issuedBy: 'mint',
      disabled: ['1'],
      revoked: [orphan.info.key_id],
    });
    expect(world.services.called).not.toEqual(
      expect.arrayContaining([expect.stringMatching(/^(Create|Revoke|Refresh)Key|^Add|^Disable/)]),
    );
    expect(world.services.momento.account.isLive(orphan)).toBe(true);
  });

  it('of a first key', async () => {
    const secret = world.secret(TERMS);
    const setup = { managementKey: world.managementKey(), policy: REVOKES };
    expect(await world.rotate(secret, setup, { dryRun: true })).toMatchObject({
      outcome: 'dry_run',
      issuedBy: 'mint',
    });
    expect(world.services.states(secret)).toEqual([]);
  });
});
