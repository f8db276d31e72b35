#!/usr/bin/env bash
# Cross-compiles the native tests for arm64 and runs them under qemu-user. Installs Debian's cross-compiler and emulator
# if it is allowed to. Pass test names (e.g. attention_test) to run only those.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

packages=()
command -v aarch64-linux-gnu-g++ >/dev/null || packages+=(g++-aarch64-linux-gnu)
command -v qemu-aarch64 >/dev/null || packages+=(qemu-user)
if [ "${#packages[@]}" -gt 0 ]; then
  . infra/setup/install_packages.sh
  install_packages "${packages[@]}"
fi

generator=()
if [ ! -f build/arm64/CMakeCache.txt ] && command -v ninja >/dev/null; then generator=(-G Ninja); fi
cmake -S native -B build/arm64 "${generator[@]}" -DCMAKE_TOOLCHAIN_FILE="$PWD/native/toolchains/aarch64.cmake" \
  -DTEMPER_ADDON=OFF -DTEMPER_TESTS=ON
cmake --build build/arm64 --parallel "$(nproc)"
filter=()
if [ "$#" -gt 0 ]; then filter=(-R "^($(IFS='|'; echo "$*"))\$"); fi
ctest --test-dir build/arm64 --output-on-failure "${filter[@]}"
