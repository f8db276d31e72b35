#!/usr/bin/env bash
# Provides the Temporal CLI, whose development server Temper embeds: TEMPORAL_CLI, or one on PATH, or the cached one, or
# Temporal's own download, or one built with Go. Prints its path. With --check, only looks for it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

cache="${TEMPER_CACHE:-$HOME/.cache/temper}"
cached="$cache/bin/temporal"
version=1.5.1

found() { echo "$1"; exit 0; }

if [ -n "${TEMPORAL_CLI:-}" ]; then
  [ -x "$TEMPORAL_CLI" ] || { echo "TEMPORAL_CLI=$TEMPORAL_CLI is not an executable file" >&2; exit 1; }
  found "$TEMPORAL_CLI"
fi
on_path=$(command -v temporal || true)
[ -z "$on_path" ] || found "$on_path"
[ ! -x "$cached" ] || found "$cached"
[ "${1:-}" != --check ] || exit 1

mkdir -p "$cache/bin"
scratch=$(mktemp -d "$cache/bin/.install.XXXXXX")
trap 'rm -rf "$scratch"' EXIT

# The file gets its final name only when it is complete, so an interrupted installation is never mistaken for one.
publish() {
  "$1" --version >/dev/null
  chmod 755 "$1"
  mv "$1" "$cached"
  found "$cached"
}

echo "downloading the Temporal CLI" >&2
downloaded=$(node infra/temporal/download.mjs "$scratch" 2>"$scratch/log" || true)
[ -z "$downloaded" ] || publish "$downloaded"
echo "not available: $(tail -n 1 "$scratch/log")" >&2

go_is_new_enough() {
  command -v go >/dev/null || return 1
  local minor
  minor=$(go env GOVERSION | sed -n 's/^go1\.\([0-9]*\).*/\1/p')
  [ -n "$minor" ] && [ "$minor" -ge 25 ]
}

if go_is_new_enough; then
  echo "building the Temporal CLI $version with Go; this takes about four minutes" >&2
  GOBIN="$scratch" go install "github.com/temporalio/cli/cmd/temporal@v$version"
  publish "$scratch/temporal"
fi

echo "the Temporal CLI cannot be installed: its download is not reachable, and Go 1.25 or newer is not installed." >&2
echo "Install it (https://docs.temporal.io/cli) and put it on PATH, or name it in TEMPORAL_CLI." >&2
exit 1
