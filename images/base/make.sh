#!/usr/bin/env bash
# Base images from Debian packages alone, for machines that reach a Debian mirror but no image registry, and for teams
# that build their own. Needs root, mmdebstrap (Debian: apt-get install mmdebstrap) and a Docker engine.
#
#   images/base/make.sh
#
# rankops-base:bookworm    Debian 12 with Python 3.11 and certificates, no apt, no manual pages: BASE_IMAGE
# rankops-build:bookworm   that with venv, and this machine's way to its package index (pip.conf, certificates, local
#                          wheels): BUILD_IMAGE; only kustomize gets into an image, never publish it
#
# DOCKER   the docker command (default: docker)       SUITE   Debian suite (default: bookworm)
# PACKAGES more packages of the base, e.g. git,openssh-client for the pipeline      NAME   prefix (default: rankops)
# WHEELS   folder of wheels that pip on this machine is told of (find-links) and the build should find at the same place
# KUSTOMIZE  a kustomize for the pipeline's build, which else downloads it (default: the one of `make setup`, if there)
# The mirror is the one that this machine's own apt sources name.
set -euo pipefail

suite=${SUITE:-bookworm}
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-0}
read -r -a docker <<<"${DOCKER:-docker}"
[ $# = 0 ] || { sed -n '2,16s/^# \{0,1\}//p' "$0"; exit 2; }
command -v mmdebstrap >/dev/null || { echo "mmdebstrap is missing: apt-get install mmdebstrap, or use a registry's image" >&2; exit 1; }

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# Debian's own entries only: other sources of this machine have keys and suites that do not belong into a base image.
sources=()
if [ -f /etc/apt/sources.list.d/debian.sources ]; then
  sources=("$scratch/debian.sources")
  cp /etc/apt/sources.list.d/debian.sources "${sources[0]}"
elif [ -s /etc/apt/sources.list ]; then
  sources=("$scratch/debian.list")
  grep -E '^deb .*debian' /etc/apt/sources.list >"${sources[0]}"
fi

# Runs in the finished base: keep it, then add what building needs.
cat >"$scratch/hook.sh" <<'HOOK'
set -eu
root=$1
tar --directory "$root" --create --file "$SCRATCH/base.tar" --one-file-system --numeric-owner --sort=name \
  --clamp-mtime --mtime="@$SOURCE_DATE_EPOCH" \
  --exclude=./var/lib/apt/lists/* --exclude=./var/cache/* --exclude=./var/log/* --exclude=./tmp/* --exclude=./run/* \
  --exclude=./dev/* --exclude=./proc/* --exclude=./sys/* --exclude=./etc/resolv.conf --exclude=./etc/hostname \
  --exclude=./etc/machine-id --exclude=./usr/sbin/policy-rc.d .
APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get --option DPkg::Chroot-Directory="$root" --quiet --quiet --yes --no-install-recommends install $BUILD_PACKAGES >&2
# pip reads the machine's file and the user's, and the second may be what names the CPU wheels of torch: both come along.
if [ -f /etc/pip.conf ]; then cp /etc/pip.conf "$root/etc/pip.conf"; fi
for file in "${XDG_CONFIG_HOME:-$HOME/.config}/pip/pip.conf" "$HOME/.pip/pip.conf"; do
  if [ -f "$file" ]; then
    mkdir -p "$root/root/.config/pip"
    cp "$file" "$root/root/.config/pip/pip.conf"
    break
  fi
done
# Certificates of a proxy that this machine trusts.
if [ -f /etc/ssl/certs/ca-certificates.crt ]; then
  cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
fi
if [ -x "$KUSTOMIZE" ]; then
  install -D "$KUSTOMIZE" "$root/usr/local/bin/kustomize"
fi
if [ -n "${WHEELS:-}" ]; then
  mkdir -p "$root$WHEELS"
  cp -r "$WHEELS"/. "$root$WHEELS"
fi
HOOK

echo "== Debian packages of $suite" >&2
# libstdc++6: numpy, onnxruntime and pyarrow are C++.
kustomize=${KUSTOMIZE:-$(cd "$(dirname "$0")/../.." && pwd)/.rankops/bin/kustomize}
SCRATCH=$scratch KUSTOMIZE=$kustomize BUILD_PACKAGES=python3-venv mmdebstrap --quiet --variant=essential \
  --include="python3,ca-certificates,libstdc++6${PACKAGES:+,$PACKAGES}" --aptopt='Acquire::Languages "none"' \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
  --dpkgopt='path-exclude=/usr/share/info/*' --customize-hook="sh '$scratch/hook.sh' \"\$1\"" \
  "$suite" "$scratch/build.tar" "${sources[@]}" >&2
for image in base build; do
  "${docker[@]}" import --change 'CMD ["python3"]' "$scratch/$image.tar" "${NAME:-rankops}-$image:$suite" >/dev/null
  echo "${NAME:-rankops}-$image:$suite"
done
