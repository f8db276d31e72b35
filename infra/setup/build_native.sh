#!/usr/bin/env bash
# Builds build/temper.node with CMake, from the npm packages node-addon-api and node-api-headers. Nothing is downloaded.
#   build_native.sh           builds what changed
#   build_native.sh --check   prints "current" when the addon was built from these sources, "stale" otherwise
#   build_native.sh --tests   builds and runs the native tests as well; --junit=FILE writes their results
#   build_native.sh --bench   builds the native benchmarks as well (build/bench/*)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# What the addon is made from: its sources, its compiler and the machine.
digest() {
  {
    find native -type f ! -path 'native/tests/*' ! -path 'native/bench/*' -print0 | sort -z | xargs -0 sha256sum
    sha256sum node_modules/node-addon-api/package.json node_modules/node-api-headers/package.json package.json
    "${CXX:-c++}" -dumpfullversion -dumpmachine
  } | sha256sum | cut -d' ' -f1
}

tests=OFF bench=OFF
options=()
report=()
for argument in "$@"; do
  case "$argument" in
    --check)
      [ -f build/temper.node ] && [ "$(cat build/temper.node.sources 2>/dev/null)" = "$(digest)" ] && echo current || echo stale
      exit 0
      ;;
    --tests) tests=ON ;;
    --junit=*) report=(--output-junit "${argument#--junit=}") ;;
    --bench) bench=ON ;;
    *) echo "build_native: unknown option $argument (known: --check, --tests, --junit=FILE, --bench)" >&2; exit 2 ;;
  esac
done

# One build at a time: two would write the same objects. The second waits, and then finds little to do.
mkdir -p build
if command -v flock >/dev/null; then exec 9>build/.lock && flock 9; fi

# A cache of another checkout, or of a compiler that is gone, cannot be used again.
if [ -f build/CMakeCache.txt ]; then
  home=$(sed -n 's/^CMAKE_HOME_DIRECTORY:INTERNAL=//p' build/CMakeCache.txt)
  compiler=$(sed -n 's/^CMAKE_CXX_COMPILER:[A-Z]*=//p' build/CMakeCache.txt)
  if [ "$home" != "$PWD/native" ] || ! command -v "$compiler" >/dev/null; then
    rm -rf build/CMakeCache.txt build/CMakeFiles
  fi
fi
if [ ! -f build/CMakeCache.txt ] && command -v ninja >/dev/null; then options+=(-G Ninja); fi

sources=$(digest)
# Said each time, because CMake would remember the last answer.
cmake -S native -B build -DTEMPER_TESTS=$tests -DTEMPER_BENCH=$bench "${options[@]}"
cmake --build build --parallel "$(nproc)"
echo "$sources" >build/temper.node.sources
if [ "$tests" = ON ]; then ctest --test-dir build --output-on-failure "${report[@]}"; fi
