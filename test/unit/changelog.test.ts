import { readChangelog, readVersion, released, sectionOf } from '../../tools/changelog';

const CHANGELOG = `# Changelog

Words before all.

## [Unreleased]

### Added

- Something new.

## [1.1.0] - 2027-02-01

### Fixed

- One thing.

### Changed

- Another.

## [1.1.0-rc.1] - 2027-01-01

- A candidate.

## [1.0.0] - 2026-12-01

The first one.
`;

describe('the section of a version', () => {
  test.each([
    ['Unreleased', '### Added\n\n- Something new.'],
    ['1.1.0', '### Fixed\n\n- One thing.\n\n### Changed\n\n- Another.'],
    ['1.0.0', 'The first one.'],
  ])('%s', (version, text) => {
    expect(sectionOf(CHANGELOG, version)).toBe(text);
  });

  test.each(['1.1', '1.1.0-rc', '2.0.0', ''])('fails when there is none for %j', (version) => {
    expect(() => sectionOf(CHANGELOG, version)).toThrow('has no text about');
  });
});

describe('a release', () => {
  const after = released(CHANGELOG, '1.2.0', '2027-03-01');

  test('moves the unreleased changes to the section of its version', () => {
    expect(after).toContain('\n## [Unreleased]\n\n## [1.2.0] - 2027-03-01\n\n### Added\n');
    expect(sectionOf(after, '1.2.0')).toBe(sectionOf(CHANGELOG, 'Unreleased'));
    expect(sectionOf(after, '1.1.0')).toBe(sectionOf(CHANGELOG, '1.1.0'));
  });

  test('fails when nothing changed, or when the version exists', () => {
    expect(() => released(after, '1.3.0', '2027-03-01')).toThrow('has no text about Unreleased');
    expect(() => released(CHANGELOG, '1.1.0', '2027-03-01')).toThrow('already has a section');
  });
});

describe('CHANGELOG.md', () => {
  const changelog = readChangelog();
  const versions = [...changelog.matchAll(/^## (.*)$/gm)].map(([, heading = '']) => heading);

  test('has the unreleased changes first, then versions with their dates', () => {
    const [first, ...rest] = versions;
    expect(first).toBe('[Unreleased]');
    for (const heading of rest) expect(heading).toMatch(/^\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d$/);
  });

  test('has each kind of change once in a section', () => {
    const [, ...sections] = changelog.split(/^## /m);
    for (const section of sections) {
      const kinds = [...section.matchAll(/^### (.*)$/gm)].map(([, kind]) => kind);
      expect(kinds).toEqual(
        ['Added', 'Changed', 'Deprecated', 'Removed', 'Fixed', 'Security'].filter((kind) =>
          kinds.includes(kind),
        ),
      );
    }
  });

  test('has the version of package.json when there is a release', () => {
    if (versions.length > 1) expect(versions[1]).toContain(`[${readVersion()}] - `);
  });
});
