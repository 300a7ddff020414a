import { parseSecrets } from '../../../src/config/secrets';
import { DAY, HOUR, secretName } from '../support';

const NAME = 'projects/p/secrets/s';
const OTHER = 'projects/p/locations/eu/secrets/t';

function parse(value: unknown, { canMint } = { canMint: true }) {
  const problems: string[] = [];
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  const secrets = parseSecrets(text, { canMint }, problems);
  return { secrets, problems };
}

describe('SECRETS', () => {
  const plain = { ...secretName(NAME), payload: 'json' };
  const other = { ...secretName(OTHER), payload: 'json' };

  test.each<[string, unknown, object[]]>([
    ['one name', NAME, [plain]],
    ['names with commas between them', ` ${NAME} ,, ${OTHER},`, [plain, other]],
    ['a list of names', [NAME, OTHER], [plain, other]],
    ['a list with white space before it', `\n [ "${NAME}" ] `, [plain]],
    ['an object', [{ name: NAME }], [plain]],
    ['names and objects', [OTHER, { name: NAME }], [other, plain]],
    [
      'all fields of an object',
      [{ name: NAME, role: 'r-viewer', lifetime: '30d', payload: 'key' }],
      [{ ...plain, role: 'r-viewer', lifetimeMs: 30 * DAY, payload: 'key' }],
    ],
    ['any duration', [{ name: NAME, lifetime: '36h' }], [{ ...plain, lifetimeMs: 36 * HOUR }]],
  ])('as %s', (_name, value, secrets) => {
    expect(parse(value)).toEqual({ secrets, problems: [] });
  });

  const shape =
    'Entry 1 of SECRETS: it must be a name, or an object with the field name and optionally role, lifetime and payload';
  const fullName =
    'the name must be a full name such as projects/PROJECT/secrets/SECRET or projects/PROJECT/locations';
  const twice = 'SECRETS must name each secret only once';
  const noRole = 'Entry 1 of SECRETS: role must be the id of a role, such as r-viewer';
  const noJson = "SECRETS starts like a JSON list and isn't valid JSON";
  const entry = (fields: object) => [{ name: NAME, ...fields }];

  test.each<[string, unknown, ...string[]]>([
    ['nothing', '', 'SECRETS must name at least one secret'],
    ['an empty list', '[]', 'SECRETS must name at least one secret'],
    ['half a list', '[', noJson],
    ['a list that is not JSON', `['${NAME}']`, noJson],
    ['an object without a list', { name: NAME }, fullName],
    ['a short name', 'momento', `Entry 1 of SECRETS: ${fullName}`],
    ['another wrong name', `${NAME},,projects/p/secret/t`, `Entry 2 of SECRETS: ${fullName}`],
    ['a version', `${NAME}/versions/latest`, `Entry 1 of SECRETS: ${fullName}`],
    ['a name twice', `${NAME}, ${NAME}`, twice],
    ['a name twice, in both formats', [NAME, { name: NAME }], twice],
    ['null', [null], shape],
    ['a list in the list', [[NAME]], shape],
    ['a misspelt field', [{ nmae: NAME }], shape],
    ['no name', [{ role: 'r' }], shape],
    ['an unknown field', entry({ expiry: '30d' }), shape],
    ['a field that all objects have', entry({ toString: 1 }), shape],
    ['a name that is a number', [{ name: 7 }], 'Entry 1 of SECRETS: name must be text'],
    ['a role that is null', entry({ role: null }), 'Entry 1 of SECRETS: role must be text'],
    ['an empty role', entry({ role: '' }), noRole],
    ['a role of two lines', entry({ role: 'r-a\nb' }), noRole],
    ['a role that is too long', entry({ role: 'r'.repeat(101) }), noRole],
    ['a lifetime in numbers', entry({ lifetime: 30 }), 'Entry 1 of SECRETS: lifetime must be text'],
    ['a lifetime without a unit', entry({ lifetime: '30' }), 'must be a whole number with a unit'],
    ['a lifetime of 0', entry({ lifetime: '0d' }), 'lifetime must be more than 0'],
    [
      'another format',
      entry({ payload: 'yaml' }),
      'Entry 1 of SECRETS: payload must be json or key',
    ],
    [
      'all of that at once',
      [{ name: NAME, role: 1, lifetime: '', payload: 1 }, 'x'],
      ...['role must', 'lifetime must', 'payload must', 'Entry 2 of SECRETS: the name must be'],
    ],
  ])('not as %s', (_name, value, ...expected) => {
    expect(parse(value).problems).toEqual(
      expected.map((part) => expect.stringContaining(part) as string),
    );
  });

  test.each<[string, object, string[]]>([
    ['role', { role: 'r' }, ['role needs MANAGEMENT_KEY']],
    ['lifetime', { lifetime: '1d' }, ['lifetime needs MANAGEMENT_KEY']],
    ['payload', { payload: 'key' }, ['payload needs MANAGEMENT_KEY']],
    ['payload, also the default one', { payload: 'json' }, ['payload needs MANAGEMENT_KEY']],
    [
      'all of them',
      { role: 'r', lifetime: '1d', payload: 'json' },
      ['role needs MANAGEMENT_KEY', 'lifetime needs', 'payload needs'],
    ],
    ['none of them', {}, []],
  ])('without a management key: %s', (_name, fields, expected) => {
    expect(parse(entry(fields), { canMint: false }).problems).toEqual(
      expected.map((part) => expect.stringContaining(`Entry 1 of SECRETS: ${part}`) as string),
    );
  });

  test('refuses a payload without a role, which has no effect', () => {
    expect(parse(entry({ payload: 'key', lifetime: '1d' })).problems).toEqual([
      'Entry 1 of SECRETS: payload needs role, because only a secret with a role gets its first key minted',
    ]);
  });

  test('quotes nothing in a problem, because it could be a secret in the wrong variable', () => {
    const planted = 'pLanted';
    const values: unknown[] = [
      planted,
      `["${planted}`,
      [
        planted,
        { [planted]: 1 },
        { name: planted, role: `${planted} `, lifetime: planted, payload: planted },
      ],
      [{ name: { planted }, role: [planted], lifetime: { planted }, payload: [planted] }],
    ];
    const problems = values.flatMap((value) => parse(value).problems);
    expect(problems.length).toBeGreaterThan(8);
    expect(problems.join()).not.toContain(planted);
  });
});
