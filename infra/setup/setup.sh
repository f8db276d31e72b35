#!/usr/bin/env bash
# Sets up a clone: system packages, npm packages, the native engine, the Temporal CLI and, with --quickstart, the
# quickstart's weights and data. Each step first checks whether it has anything to do, so running this again is quick.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

quickstart=no
for argument in "$@"; do
  case "$argument" in
    --quickstart) quickstart=yes ;;
    *) echo "setup: unknown option $argument (known: --quickstart)" >&2; exit 2 ;;
  esac
done

cache="${TEMPER_CACHE:-$HOME/.cache/temper}"
logs="$PWD/build/setup-logs"
mkdir -p "$logs" "$cache/bin"

fail() { printf '\n✗ %s\n  %s\n' "$1" "$2" >&2; exit 1; }

# Erases the line that names the current step, if there is a terminal.
back=
[ -t 2 ] && back='\r\033[2K'

# step NAME COMMAND…: prints one line of progress, and the log only if the command fails.
step() {
  local name=$1 started=$SECONDS log
  shift
  log="$logs/${name//[^a-z0-9]/_}.log"
  [ -t 2 ] && printf '· %s …' "$name" >&2
  if "$@" >"$log" 2>&1; then
    printf "${back}✓ %s (%d s)\n" "$name" $((SECONDS - started)) >&2
  else
    printf "${back}✗ %s\n" "$name" >&2
    tail -n 20 "$log" >&2
    fail "$name failed" "full log: $log"
  fi
}

check_node() {
  command -v node >/dev/null || fail "Node.js is missing" "install Node.js 20.19 or newer (https://nodejs.org, or your package manager)"
  node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)' ||
    fail "Node.js $(node --version) is too old" "install Node.js 20.19 or newer"
}

missing_tools() {
  command -v g++ >/dev/null || command -v c++ >/dev/null || echo g++
  command -v cmake >/dev/null || echo cmake
  command -v make >/dev/null || command -v ninja >/dev/null || echo make
}

install_tools() {
  local packages=$1 sudo=
  [ "$(id -u)" = 0 ] || sudo='sudo -n'
  $sudo apt-get update -qq && DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $packages
}

system_packages() {
  local packages
  packages=$(missing_tools | tr '\n' ' ')
  [ -n "$packages" ] || return 0
  if command -v apt-get >/dev/null && { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }; then
    step "system packages: $packages" install_tools "$packages"
  else
    fail "these tools are missing: $packages" "install them, e.g. sudo apt-get install $packages, and run this again"
  fi
}

# `npm ci` refuses a lock file without every platform's optional packages, and some registries do not serve them all.
# Packages are complete when they were installed from exactly this lock file.
npm_packages() {
  local wanted
  wanted=$(sha256sum package-lock.json | cut -d' ' -f1)
  [ "$(cat node_modules/.temper-lock 2>/dev/null)" != "$wanted" ] || return 0
  install_npm() { ONNXRUNTIME_NODE_INSTALL=skip npm install --no-save --ignore-scripts --no-progress && echo "$wanted" >node_modules/.temper-lock; }
  step "npm packages" install_npm
}

temporal_cli() {
  bash infra/temporal/install.sh --check >/dev/null 2>&1 || step "Temporal CLI" bash infra/temporal/install.sh
}

check_node
system_packages
npm_packages
temporal_cli &
cli=$!
trap 'kill $cli 2>/dev/null || true' EXIT
step "TypeScript" node infra/setup/build_ts.mjs
[ "$(bash infra/setup/build_native.sh --check 2>/dev/null)" = current ] || step "native engine" bash infra/setup/build_native.sh
step "workflow bundle" node infra/setup/build_workflows.mjs
wait $cli
trap - EXIT
if [ "$quickstart" = yes ]; then
  step "weights of SmolLM2-135M-Instruct" bash infra/quickstart/fetch_weights.sh
  step "data: countries" node infra/quickstart/make_countries.mjs
fi
