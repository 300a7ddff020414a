import js from '@eslint/js';
import { defineConfig, globalIgnores } from 'eslint/config';
import tseslint from 'typescript-eslint';

/** What each room of src may import from the others: imports go down. Beside these, every room has the ground floor. */
const ROOMS = {
  http: ['fleet', 'rotation'],
  fleet: ['rotation'],
  config: ['rotation'],
  rotation: [],
  momento: ['rotation/ports'],
  'secret-manager': ['rotation/ports'],
};

const MOMENTO = { regex: '^@gomomento/', message: 'Only src/momento knows Momento.' };
const SECRET_MANAGER = {
  regex: '^(@google-cloud/secret-manager|@grpc/|google-)',
  message: 'Only src/secret-manager knows Secret Manager.',
};

function room(files, patterns) {
  return { files, rules: { 'no-restricted-imports': ['error', { patterns }] } };
}

function roomOf([name, below]) {
  const above = {
    regex: `^\\.\\./(?!(${below.join('|') || '-'})(/|$))[^/]+/`,
    message: `src/${name} imports ${[...below, 'the ground floor'].join(', ')} only.`,
  };
  return room(
    [`src/${name}/**/*.ts`],
    [
      above,
      ...(name === 'momento' ? [] : [MOMENTO]),
      ...(name === 'secret-manager' ? [] : [SECRET_MANAGER]),
    ],
  );
}

export default defineConfig([
  globalIgnores(['**/dist/', 'coverage/']),
  js.configs.recommended,
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.strictTypeChecked, tseslint.configs.stylisticTypeChecked],
    languageOptions: { parserOptions: { projectService: true } },
    rules: {
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      '@typescript-eslint/switch-exhaustiveness-check': [
        'error',
        { considerDefaultExhaustiveForUnions: true },
      ],
      eqeqeq: ['error', 'always', { null: 'ignore' }],
    },
  },
  {
    files: ['src/**/*.ts'],
    rules: {
      // Every line that the function writes is a structured one: see src/log.ts.
      'no-console': 'error',
    },
  },
  room(
    ['src/*.ts'],
    [
      { regex: '^\\./[^/]+/', message: 'The ground floor knows nothing of the rooms.' },
      MOMENTO,
      SECRET_MANAGER,
    ],
  ),
  // The composition root.
  room(['src/index.ts'], [MOMENTO, SECRET_MANAGER]),
  ...Object.entries(ROOMS).map(roomOf),
  {
    files: ['src/{rotation,fleet,http}/**/*.ts'],
    rules: {
      'no-restricted-syntax': [
        'error',
        ...['Literal[value=/momento|grpc/i]', 'TemplateElement[value.raw=/momento|grpc/i]'].map(
          (selector) => ({
            selector,
            message: 'The core knows no vendor: words go to its folder.',
          }),
        ),
      ],
    },
  },
  {
    files: ['**/*.mjs'],
    languageOptions: {
      globals: { process: 'readonly', console: 'readonly', URL: 'readonly', Buffer: 'readonly' },
    },
  },
]);
