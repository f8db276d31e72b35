// Tests run from dist/, where worker threads and child processes find the same compiled code.
export default {
  rootDir: '.',
  roots: ['<rootDir>/dist/tests'],
  testMatch: ['**/*.test.js'],
  testEnvironment: '<rootDir>/dist/tests/support/node_environment.js',
  transform: {},
  testTimeout: 30_000,
};
