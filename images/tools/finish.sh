#!/bin/sh
# The last step of a build: bill of materials, byte code for everything, and one time for all files.
#
#   finish.sh NAME APP
#
# NAME is the image's, APP the folder of our code below /opt/rankops. VERSION, REVISION and SOURCE_DATE_EPOCH are the
# build's arguments. What the image gets is moved to /out/root, an empty folder for volumes is made in /out/state.
set -eu
name=$1 app=$2
/opt/tools/bin/python images/tools/sbom.py --name "$name" --version "$VERSION" --revision "$REVISION" \
  --environment /opt/rankops --base /base --report /out/installed.json --app "$app" \
  --out /opt/rankops/share/sbom.cdx.json
# `unchecked-hash` byte code is the same whenever it is made. Ours must compile; packages may hold files for others.
/opt/rankops/bin/python -m compileall -q --invalidation-mode unchecked-hash "$app"
/opt/rankops/bin/python -m compileall -qq --invalidation-mode unchecked-hash /opt/rankops/lib || true
rm -f /opt/rankops/bin/Activate.ps1 /opt/rankops/bin/activate*
mkdir -p /out/root/opt /out/state
mv /opt/rankops /out/root/opt/rankops
find /out -exec touch --no-dereference --date "@$SOURCE_DATE_EPOCH" {} +
