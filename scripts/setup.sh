#!/usr/bin/env bash
# Installs what building and testing needs and the machine lacks. Does nothing on a machine that has it all.
set -euo pipefail

cd "$(dirname "$0")/.."
toolchain=1.26.8
say() { printf '%s\n' "$*" >&2; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else
    say "formicary setup: this needs root and there is no sudo. As root, run:"
    say "  $*"
    exit 1
  fi
}

apt_install() {
  command -v apt-get >/dev/null || { say "formicary setup: please install: $*"; exit 1; }
  say "formicary setup: installing $*"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq update
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$@" >/dev/null
}

# Installs packages whose programs are wanted, and not the server that they would start at once.
apt_install_stopped() {
  local policy=/usr/sbin/policy-rc.d
  [ ! -e "$policy" ] || { apt_install "$@"; return; }
  printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
  as_root chmod +x "$policy"
  local failed=0
  apt_install "$@" || failed=1
  as_root rm -f "$policy"
  return "$failed"
}

have_postgres() {
  [ -n "${FORMICARY_PG_BIN:-}" ] || command -v initdb >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null
}

go_is_new_enough() {
  # From 1.21 on the go command fetches the toolchain that go.work asks for.
  command -v go >/dev/null || return 1
  local v
  v=$(go env GOVERSION | sed 's/^go//')
  [ "$(printf '%s\n1.21\n' "$v" | sort -V | head -n 1)" = 1.21 ]
}

# A toolchain is a Go module too: an older go command can fetch it. It is linked where the Makefile looks first.
fetch_toolchain() {
  local module answer dir
  module="golang.org/toolchain@v0.0.1-go$toolchain.linux-$(dpkg --print-architecture)"
  say "formicary setup: fetching Go $toolchain"
  answer=$(cd / && GO111MODULE=on go mod download -json "$module") || true
  dir=$(sed -n 's/.*"Dir": "\(.*\)".*/\1/p' <<<"$answer")
  [ -n "$dir" ] || { sed -n 's/.*"Error": "\(.*\)".*/formicary setup: \1/p' <<<"$answer" >&2; return 1; }
  chmod -R u+w "$dir/bin" "$dir/pkg/tool"
  chmod +x "$dir"/bin/* "$dir"/pkg/tool/*/*
  mkdir -p bin
  ln -sfn "$dir" bin/toolchain
}

missing=()
command -v git >/dev/null || missing+=(git)
[ -e /etc/ssl/certs/ca-certificates.crt ] || missing+=(ca-certificates)
# The race detector of the tests needs a C compiler.
[ "${1:-}" != test ] || command -v gcc >/dev/null || missing+=(gcc libc6-dev)
# The tests run the JavaScript worker.
node_is_new_enough() {
  command -v node >/dev/null && command -v npm >/dev/null && [ "$(node -p 'process.versions.node.split(".")[0]')" -ge 18 ]
}
[ "${1:-}" != test ] || node_is_new_enough || missing+=(nodejs npm)
[ "${#missing[@]}" = 0 ] || apt_install "${missing[@]}"
# The tests start a Docker engine of their own where none runs, with images made of busybox.
if [ "${1:-}" = test ]; then
  missing=()
  { [ -S /var/run/docker.sock ] || command -v dockerd; } >/dev/null || missing+=(docker.io)
  command -v busybox >/dev/null || missing+=(busybox-static)
  command -v curl >/dev/null || missing+=(curl)
  [ "${#missing[@]}" = 0 ] || apt_install_stopped "${missing[@]}"
fi

if [ "${1:-}" = test ]; then
  workers=services/ant/workers/javascript
  # The lock file that npm keeps there says what is installed.
  [ "$workers/node_modules/.package-lock.json" -nt "$workers/package-lock.json" ] ||
    { say "formicary setup: installing the packages of the JavaScript worker"; npm --prefix "$workers" ci --no-audit --no-fund --silent; }
fi

if ! have_postgres; then
  # The binaries are wanted, not a server that the package would start.
  as_root mkdir -p /etc/postgresql-common/createcluster.d
  echo 'create_main_cluster = false' | as_root tee /etc/postgresql-common/createcluster.d/formicary.conf >/dev/null
  apt_install postgresql
fi

if ! go_is_new_enough && [ -x /usr/local/go/bin/go ]; then
  say "formicary setup: Go is in /usr/local/go/bin but not on PATH; add it: export PATH=\$PATH:/usr/local/go/bin"
  exit 1
fi
if ! go_is_new_enough; then
  command -v go >/dev/null || apt_install golang-go
  go_is_new_enough || fetch_toolchain || {
    say "formicary setup: Go $toolchain is needed (1.21 or newer fetches it by itself); this machine has $(go env GOVERSION)."
    say "  Install it from the Go project's downloads and run make again."
    exit 1
  }
fi
