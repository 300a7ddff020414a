import { availableParallelism } from 'node:os';

export default {
  preset: 'ts-jest',
  testEnvironment: 'node',
  // Many suites wait for programs that they start, so more workers than cores are faster.
  // Jest reads more than 100% as a number.
  maxWorkers: Math.ceil(1.5 * availableParallelism()),
  // Only how long a busy machine may take: no test measures time.
  testTimeout: 60_000,
  roots: ['<rootDir>/src', '<rootDir>/test'],
  transform: {
    '/examples/.+\\.ts$': '<rootDir>/test/to-commonjs.mjs',
    '^.+\\.ts$': 'ts-jest',
  },
  setupFiles: ['<rootDir>/test/no-proxy.ts'],
  globalSetup: '<rootDir>/test/build-once.mjs',
  collectCoverageFrom: ['src/**/*.ts'],
  coverageThreshold: { global: { lines: 95, branches: 95 } },
};
