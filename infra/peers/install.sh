#!/usr/bin/env bash
# Installs the Python peers that Temper is measured against and read by (PyTorch, transformers, peft) into a cache of
# their own, and prints the path of their interpreter. Does nothing when they are there already.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
digest=$(sha256sum "$here/requirements.txt" | cut -c1-12)
peers="${TEMPER_CACHE:-$HOME/.cache/temper}/peers/$digest"
if [ ! -f "$peers/complete" ]; then
  command -v python3 >/dev/null || { echo "the peers need Python 3.10 or newer: apt-get install python3 python3-venv" >&2; exit 1; }
  echo "installing PyTorch, transformers and peft into $peers (several GB, some minutes)" >&2
  rm -rf "$peers"
  mkdir -p "$(dirname "$peers")"
  python3 -m venv "$peers" || { echo "python3 cannot make environments here: apt-get install python3-venv" >&2; exit 1; }
  "$peers/bin/pip" install --quiet --disable-pip-version-check --no-cache-dir -r "$here/requirements.txt" >&2
  touch "$peers/complete"
fi
echo "$peers/bin/python"
