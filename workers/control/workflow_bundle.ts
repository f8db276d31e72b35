import { fileURLToPath } from 'node:url';

/** The workflows' code, built ahead so that a worker starts without webpack. */
export const workflowBundle = fileURLToPath(new URL('../../workflow-bundle.js', import.meta.url));
