#!/usr/bin/env bash
# Installs @huggingface/transformers for Node.js, which must load exported folders, into a separate cache, and prints the
# folder. Does nothing if it is installed. Install scripts do not run: its native parts are npm packages.
set -euo pipefail
package=@huggingface/transformers@4.3.1
peers="${TEMPER_CACHE:-$HOME/.cache/temper}/peers/${package##*/}"
if [ ! -f "$peers/complete" ]; then
  echo "installing $package into $peers (0.5 GB)" >&2
  rm -rf "$peers"
  mkdir -p "$peers"
  echo '{"private": true}' >"$peers/package.json"
  npm install --prefix "$peers" --ignore-scripts --no-audit --no-fund --save-exact "$package" >&2
  touch "$peers/complete"
fi
echo "$peers"
