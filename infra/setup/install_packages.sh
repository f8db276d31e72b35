# For scripts to source.

# install_packages NAME…: installs Debian packages; exits with 77, which means skipped, where that is not allowed.
install_packages() {
  local sudo=
  [ "$(id -u)" = 0 ] || sudo='sudo -n'
  if ! { command -v apt-get && $sudo true; } >/dev/null 2>&1; then
    echo "${0##*/}: install these first: $*" >&2
    exit 77
  fi
  $sudo apt-get update -qq
  DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "$@"
}
