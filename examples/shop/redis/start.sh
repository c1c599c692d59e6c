#!/bin/sh
# The volume may be new and root's; redis itself does not run as root.
set -e
chown redis:redis /data
exec setpriv --reuid=redis --regid=redis --init-groups \
  redis-server --bind 0.0.0.0 --protected-mode no --dir /data --appendonly yes --save '' --maxmemory 128mb --maxmemory-policy volatile-lru
