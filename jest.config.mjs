export default {
  preset: 'ts-jest',
  testEnvironment: 'node',
  // Jest leaves one core free, which on two cores doubles the time.
  maxWorkers: '100%',
  // Only how long a busy machine may take: no test measures time.
  testTimeout: 30_000,
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
