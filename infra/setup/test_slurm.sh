#!/usr/bin/env bash
# Runs the worker's job on a real Slurm of one node, started for the test. Installs Debian's Slurm if it is allowed to; exits
# with 77 where there is none and it may not.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

if ! { command -v slurmctld && command -v slurmd && command -v munged; } >/dev/null; then
  . infra/setup/install_packages.sh
  install_packages slurmctld slurmd slurm-client munge
fi
npm run -s build
NODE_OPTIONS='--experimental-vm-modules --disable-warning=ExperimentalWarning' \
  exec node_modules/.bin/jest --testMatch '<rootDir>/dist/tests/slurm/*.slurm.js' "$@"
