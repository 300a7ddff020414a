export default {
  preset: 'ts-jest',
  testEnvironment: 'node',
  roots: ['<rootDir>/src', '<rootDir>/test'],
  transform: {
    '/examples/.+\\.ts$': '<rootDir>/test/to-commonjs.mjs',
    '^.+\\.ts$': 'ts-jest',
  },
  globalSetup: '<rootDir>/test/build-once.mjs',
  collectCoverageFrom: ['src/**/*.ts'],
  coverageThreshold: { global: { lines: 95, branches: 95 } },
};
