#!/usr/bin/env bash
# Installs the Python packages that Temper is compared with, or that read what it writes, into a separate cache, and prints
# the path of their interpreter. Does nothing if they are installed.
#
# usage: install.sh [requirements|onnx]     requirements: PyTorch, transformers, peft; onnx: ONNX, ONNX Runtime, its genai
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
list="$here/${1:-requirements}.txt"
digest=$(sha256sum "$list" | cut -c1-12)
peers="${TEMPER_CACHE:-$HOME/.cache/temper}/peers/$digest"
if [ ! -f "$peers/complete" ]; then
  command -v python3 >/dev/null || { echo "the peers need Python 3.10 or newer: apt-get install python3 python3-venv" >&2; exit 1; }
  echo "installing $(grep -o '^[a-z-]*' "$list" | tr '\n' ' ')into $peers (PyTorch: several GB, some minutes)" >&2
  rm -rf "$peers"
  mkdir -p "$(dirname "$peers")"
  python3 -m venv "$peers" || { echo "python3 cannot create virtual environments: apt-get install python3-venv" >&2; exit 1; }
  "$peers/bin/pip" install --quiet --disable-pip-version-check --no-cache-dir -r "$list" >&2
  touch "$peers/complete"
fi
echo "$peers/bin/python"
