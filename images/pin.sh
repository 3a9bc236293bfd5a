#!/usr/bin/env bash
# Write the digests of pushed images where the platform takes them: the server's into RANKOPS_SERVER_IMAGE (which
# GitOps(image=...) reads, so that the next deploy pins it), the pipeline's into k8s-overlays/platform/images. Commit the result.
#
#   images/pin.sh .rankops/images        what images/build.sh wrote with REGISTRY=...
set -euo pipefail
from=${1:?"give the folder that images/build.sh wrote to"}
root=${ROOT:-$(cd "$(dirname "$0")/.." && pwd)}

pinned() { # pinned NAME: name@sha256:... of a pushed image, or nothing
  [ -f "$from/$1.image" ] || return 0
  local image
  image=$(cat "$from/$1.image")
  [[ $image =~ ^[a-z0-9./:_-]+@sha256:[0-9a-f]{64}$ ]] || { echo "$from/$1.image is not name@sha256:...: $image" >&2; exit 1; }
  echo "$image"
}

change() { # change FILE EXPRESSION: all or nothing
  sed -E "$2" "$1" >"$1.tmp"
  cmp -s "$1" "$1.tmp" && rm "$1.tmp" || { mv "$1.tmp" "$1"; echo "changed $1"; }
}

server=$(pinned server)
pipeline=$(pinned pipeline)
[ -n "$server$pipeline" ] || { echo "$from holds no server.image and no pipeline.image: build with REGISTRY=..." >&2; exit 1; }
if [ -n "$server" ]; then
  change "$root/k8s-overlays/platform/dagster/dagster.env" "s#^RANKOPS_SERVER_IMAGE=.*#RANKOPS_SERVER_IMAGE=$server#"
fi
if [ -n "$pipeline" ]; then
  change "$root/k8s-overlays/platform/images/kustomization.yaml" \
    "/name: rankops-pipeline\$/,/digest:/{s#newName: .*#newName: ${pipeline%@*}#;s#digest: .*#digest: ${pipeline#*@}#}"
fi
