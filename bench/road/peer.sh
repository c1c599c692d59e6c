#!/usr/bin/env bash
# What a team without a platform writes: git push -> hook -> buildah -> podman -> haproxy. `./dev bench road` compares
# Naru with it. Everything lies below $PEER_HOME: repo.git, storage, the proxy's files. $PEER_PORT is the proxy's.
#
#   peer.sh setup BASE.tar IMAGE   makes the repository with this script as its hook, imports the base image
#   peer.sh deploy                 (the hook post-receive) test, build, start beside, switch over, stop the old one
#   peer.sh down                   ends what runs
#
# `deploy` appends "STAGE NANOSECONDS" to $PEER_HOME/stages as each stage ends.
set -euo pipefail
: "${PEER_HOME:?}" "${PEER_PORT:?}"
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
storage=(--root "$PEER_HOME/storage" --runroot "$PEER_HOME/run" --storage-driver overlay)
podman() { command podman "${storage[@]}" --cgroup-manager=cgroupfs "$@"; }
buildah() { command buildah "${storage[@]}" "$@"; }
stage() { printf '%s %s\n' "$1" "$(date +%s%N)" >>"$PEER_HOME/stages"; }

setup() {
  mkdir -p "$PEER_HOME"
  git init -q --bare "$PEER_HOME/repo.git"
  printf '#!/bin/sh\nexec setsid --wait %q deploy\n' "$here/peer.sh" >"$PEER_HOME/repo.git/hooks/post-receive"
  chmod +x "$PEER_HOME/repo.git/hooks/post-receive"
  podman load -q -i "$1" | sed 's/^/base: /'
  podman image exists "$2" || podman tag "$(podman images -q | head -n 1)" "$2"
}

# The proxy starts with the first release and is reloaded for the next: its listening socket goes from one to the other.
switch_to() {
  cat >"$PEER_HOME/haproxy.cfg" <<C
global
  stats socket $PEER_HOME/haproxy.sock expose-fd listeners
defaults
  mode http
  timeout connect 2s
  timeout client 60s
  timeout server 60s
frontend edge
  bind 127.0.0.1:$PEER_PORT
  default_backend greeter
backend greeter
  server one 127.0.0.1:$1
C
  haproxy -c -q -f "$PEER_HOME/haproxy.cfg"
  local old=()
  [ -f "$PEER_HOME/haproxy.pid" ] && old=(-x "$PEER_HOME/haproxy.sock" -sf "$(cat "$PEER_HOME/haproxy.pid")")
  haproxy -D -f "$PEER_HOME/haproxy.cfg" -p "$PEER_HOME/haproxy.pid" "${old[@]}"
}

deploy() {
  local commit ref checkout port name before
  echo $$ >"$PEER_HOME/deploy.pid"
  trap 'rm -f "$PEER_HOME/deploy.pid"' EXIT
  read -r _ commit ref
  [ "$ref" = refs/heads/main ] || exit 0
  stage pushed
  unset GIT_DIR GIT_QUARANTINE_PATH
  checkout=$(mktemp -d "$PEER_HOME/checkout.XXXXXX")
  git --git-dir="$PEER_HOME/repo.git" archive "$commit" | tar -x -C "$checkout"
  stage checked_out
  buildah bud -q --layers --target test "$checkout" >/dev/null
  buildah bud -q --layers -t "greeter:$commit" "$checkout" >/dev/null
  stage built
  # Two ports take turns; the containers use the host's network.
  before=$(cat "$PEER_HOME/current" 2>/dev/null || true)
  port=$((PEER_PORT + 1))
  [ "${before##* }" = "$port" ] && port=$((PEER_PORT + 2))
  name="greeter-${commit:0:12}"
  podman run -d -q --name "$name" --network host --env PORT="$port" "localhost/greeter:$commit" >/dev/null
  for _ in $(seq 500); do
    (exec 3<>"/dev/tcp/127.0.0.1/$port" && printf 'GET /up HTTP/1.0\r\n\r\n' >&3 && read -r _ status _ <&3 && [ "$status" = 200 ]) 2>/dev/null && break
    sleep 0.02
  done
  stage started
  switch_to "$port"
  stage routed
  echo "$name $port" >"$PEER_HOME/current"
  [ -z "$before" ] || podman rm -f -t 5 "${before%% *}" >/dev/null
  rm -rf "$checkout"
}

down() {
  # A deploy under way is a session of its own: all of it ends.
  [ ! -f "$PEER_HOME/deploy.pid" ] || kill -9 -- "-$(cat "$PEER_HOME/deploy.pid")" 2>/dev/null || true
  [ ! -f "$PEER_HOME/haproxy.pid" ] || kill "$(cat "$PEER_HOME/haproxy.pid")" 2>/dev/null || true
  podman rm -f -a -t 0 >/dev/null 2>&1 || true
}

case "${1:-}" in
  setup | deploy | down) "$@" ;;
  *) echo "usage: peer.sh setup BASE.tar IMAGE | deploy | down" >&2; exit 2 ;;
esac
