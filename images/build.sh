#!/usr/bin/env bash
# Build images with the Docker engine that is there, say how large they are and where their bills of materials lie.
#
#   images/build.sh server pipeline
#
# For each image: $OUT/NAME.cdx.json (bill of materials), $OUT/NAME.txt (id, size, layers) and, where it was pushed,
# $OUT/NAME.image: name@sha256:..., the form that GitOps(image=...) and RANKOPS_SERVER_IMAGE take.
#
# BASE_IMAGE, BUILD_IMAGE, FEATURES, EXTRAS, ONNXRUNTIME   build arguments, see the Dockerfiles
# TAG          tag of the images (default: the commit, or "local" outside Git)
# REGISTRY     prefix to push to, e.g. registry.example.com/you; empty: nothing is pushed
# SUFFIX       appended to the name, e.g. -cuda
# OUT          folder of what is written (default: .rankops/images)
# DOCKER       docker command (default: docker)      BUILD_FLAGS   more flags of `docker build`, e.g. --network=host
set -euo pipefail
cd "$(dirname "$0")/.."

[ $# -gt 0 ] || { sed -n '2,15s/^# \{0,1\}//p' "$0"; exit 2; }
read -r -a docker <<<"${DOCKER:-docker}"
read -r -a flags <<<"${BUILD_FLAGS:-}"
out=${OUT:-.rankops/images}
revision=$(git rev-parse HEAD 2>/dev/null || true)
tag=${TAG:-${revision:0:12}}
tag=${tag:-local}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
# The commit's time, so that the same commit gives the same files.
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
source_url=$(git remote get-url origin 2>/dev/null | sed -E 's#^(https?://)[^/@]*@#\1#' || true)
mkdir -p "$out"
"${docker[@]}" version --format '{{.Server.Version}}' >/dev/null || { echo "no Docker engine answers to: ${docker[*]}" >&2; exit 1; }

arguments=(--build-arg "VERSION=$version" --build-arg "REVISION=$revision" --build-arg "SOURCE=$source_url"
  --build-arg "SOURCE_DATE_EPOCH=$epoch")
for name in BASE_IMAGE BUILD_IMAGE FEATURES EXTRAS ONNXRUNTIME; do
  # an EXTRAS that is set and empty means: none
  if [ -n "${!name+set}" ]; then arguments+=(--build-arg "$name=${!name}"); fi
done

for name in "$@"; do
  [ -f "images/$name/Dockerfile" ] || { echo "no images/$name/Dockerfile" >&2; exit 2; }
  image="${REGISTRY:+${REGISTRY%/}/}rankops-$name${SUFFIX:-}:$tag"
  echo "== $image"
  "${docker[@]}" build --file "images/$name/Dockerfile" --tag "$image" "${arguments[@]}" "${flags[@]}" .
  {
    "${docker[@]}" image inspect --format 'id {{.Id}}, {{.Size}} bytes' "$image"
    "${docker[@]}" history --no-trunc --format '{{.Size}}	{{.CreatedBy}}' "$image" | awk -F'\t' '$1 != "0B"' | cut -c1-120
  } | tee "$out/$name.txt"
  # Copied out of a container that never runs.
  container=$("${docker[@]}" create "$image")
  "${docker[@]}" cp "$container:/opt/rankops/share/sbom.cdx.json" "$out/$name.cdx.json.tmp"
  "${docker[@]}" rm "$container" >/dev/null
  mv "$out/$name.cdx.json.tmp" "$out/$name.cdx.json"
  echo "bill of materials: $out/$name.cdx.json"
  if [ -n "${REGISTRY:-}" ]; then
    "${docker[@]}" push --quiet "$image"
    # What the registry calls it, under exactly the name that was pushed.
    digest=$("${docker[@]}" image inspect --format '{{range .RepoDigests}}{{println .}}{{end}}' "$image" |
      grep -F "${image%:*}@" | head -n 1 || true)
    [[ $digest =~ @sha256:[0-9a-f]{64}$ ]] || { echo "the registry told no digest of $image" >&2; exit 1; }
    echo "$digest" >"$out/$name.image.tmp"
    mv "$out/$name.image.tmp" "$out/$name.image"
    echo "pushed: $digest"
  fi
done
