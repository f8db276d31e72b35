#!/usr/bin/env bash
# Installs versitygw, the S3 server that the tests of object storage run against, at a pinned version into
# ~/.cache/temper/bin. Needs Go; does nothing if that version is installed.
set -euo pipefail

version=v1.8.0
bin="${TEMPER_BIN:-$HOME/.cache/temper/bin}"
target="$bin/versitygw-$version"

if [[ -x "$target" ]]; then
  echo "versitygw $version: $target"
  exit 0
fi
if ! command -v go >/dev/null; then
  echo "building versitygw $version needs Go: install it (apt-get install golang, or https://go.dev/dl)" >&2
  exit 1
fi
mkdir -p "$bin"
staging="$(mktemp -d)"
trap 'rm -rf "$staging"' EXIT
echo "versitygw $version: building, about a minute"
GOBIN="$staging" go install "github.com/versity/versitygw/cmd/versitygw@$version"
mv "$staging/versitygw" "$target"
echo "versitygw $version: $target"
