#!/usr/bin/env bash
# Installs @huggingface/transformers for Node, which exported folders must load in, into a cache of its own, and prints the
# folder. Does nothing when it is there already. Install scripts do not run: its natives come as npm packages.
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
