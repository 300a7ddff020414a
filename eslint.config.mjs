import js from '@eslint/js';
import { defineConfig, globalIgnores } from 'eslint/config';
import tseslint from 'typescript-eslint';

/** What each folder of src can import from the other folders. Each can also import the files of src itself. */
const IMPORTS = {
  http: ['rotation'],
  config: ['rotation'],
  rotation: [],
  momento: ['rotation/ports'],
  'secret-manager': ['rotation/ports'],
};

const MOMENTO = {
  regex: '^@gomomento/',
  message: 'Only src/momento imports the packages of Momento.',
};
const SECRET_MANAGER = {
  regex: '^(@google-cloud/secret-manager|@grpc/|google-)',
  message: 'Only src/secret-manager imports the packages of Google.',
};

function restrictImports(files, patterns) {
  return { files, rules: { 'no-restricted-imports': ['error', { patterns }] } };
}

function restrictFolder([name, allowed]) {
  const otherFolders = {
    regex: `^\\.\\./(?!(${allowed.join('|') || '-'})(/|$))[^/]+/`,
    message: `src/${name} imports only ${[...allowed, 'files of src itself'].join(' and ')}.`,
  };
  return restrictImports(
    [`src/${name}/**/*.ts`],
    [
      otherFolders,
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
      // src/log.ts writes every line of the log, as JSON.
      'no-console': 'error',
    },
  },
  restrictImports(
    ['src/*.ts'],
    [
      { regex: '^\\./[^/]+/', message: 'Files of src itself import no folder.' },
      MOMENTO,
      SECRET_MANAGER,
    ],
  ),
  // index.ts connects the folders, so it can import all of them.
  restrictImports(['src/index.ts'], [MOMENTO, SECRET_MANAGER]),
  ...Object.entries(IMPORTS).map(restrictFolder),
  {
    files: ['src/{rotation,http}/**/*.ts'],
    rules: {
      'no-restricted-syntax': [
        'error',
        ...['Literal[value=/momento|grpc/i]', 'TemplateElement[value.raw=/momento|grpc/i]'].map(
          (selector) => ({
            selector,
            message: 'Texts about Momento or gRPC belong to src/momento or src/secret-manager.',
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
