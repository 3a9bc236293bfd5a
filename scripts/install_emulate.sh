#!/usr/bin/env bash
# A stand-in for GitHub's API for the pull request tests. Optional: without it those tests skip and say so.
# Exactly the version of scripts/emulate/package-lock.json (0.11.2): the name's `latest` is another package.
set -u
dest="${1:?where to install}"
lock=scripts/emulate/package-lock.json
if [ -f "$dest/node_modules/emulate/package.json" ] && cmp -s "$lock" "$dest/package-lock.json"; then exit 0; fi
command -v npm >/dev/null && command -v node >/dev/null || { echo "[emulate] Node or npm is missing: the tests against GitHub's API stand-in will skip"; exit 0; }
[ "$(node -p 'parseInt(process.versions.node)')" -ge 20 ] || { echo "[emulate] Node $(node --version) is older than 20: the tests against GitHub's API stand-in will skip"; exit 0; }
mkdir -p "$dest" && cp scripts/emulate/package.json "$lock" "$dest/" || exit 0
if npm ci --prefix "$dest" --ignore-scripts --no-audit --no-fund --loglevel=error; then
  echo "[emulate] $(node -p "require('$(cd "$dest" && pwd)/node_modules/emulate/package.json').version") in $dest"
else
  rm -f "$dest/package-lock.json"
  echo "[emulate] could not be installed (see npm's message above): the tests against GitHub's API stand-in will skip"
fi
exit 0
