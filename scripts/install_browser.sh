#!/usr/bin/env bash
# Installs Chromium and its driver where that is one apt command away. Without them the browser tests skip and say so.
set -u
if command -v chromium >/dev/null 2>&1 && command -v chromedriver >/dev/null 2>&1; then exit 0; fi
if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
  (apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q chromium chromium-driver) >/dev/null 2>&1 && exit 0
fi
echo "Chromium was not installed: the browser tests will skip. Install the packages chromium and chromium-driver to run them."
