#!/bin/sh
# SPDX-License-Identifier: MIT
# packages.sh - what flashdec is built with, as Debian packages for a machine that cannot install any
#
#     packages.sh fetch DIR           downloads them for the release of this machine
#     packages.sh unpack DIR SYSROOT  unpacks .deb files and copies trees from DIR; their .pc files then name SYSROOT
set -eu

if [ "$1" = fetch ]; then
    mkdir -p "$2"
    cd "$2"
    apt-get download ocl-icd-libopencl1 ocl-icd-opencl-dev opencl-c-headers libjansson4 libjansson-dev libclblast1 \
        libclblast-dev libcmocka0 libcmocka-dev clinfo pkgconf pkgconf-bin libpkgconf3
    exit 0
fi
from=$2 sysroot=$3
mkdir -p "$sysroot"
for package in "$from"/*.deb; do
    [ -f "$package" ] || continue
    if command -v dpkg >/dev/null; then
        dpkg -x "$package" "$sysroot"
    else # a .deb is an archive of ar that holds data.tar.xz, .zst or .gz
        data=$(ar t "$package" | grep '^data\.tar')
        ar p "$package" "$data" >"$sysroot/$data"
        tar -C "$sysroot" -xf "$sysroot/$data"
        rm "$sysroot/$data"
    fi
done
for tree in "$from" "$from"/*/; do
    [ ! -d "$tree/usr" ] || cp -a "$tree/." "$sysroot/"
done
[ -d "$sysroot/usr" ] || { echo "packages.sh: neither .deb files nor trees with usr/ in $from" >&2; exit 1; }
find "$sysroot/usr" -name '*.pc' -exec sed -i "s|^\([A-Za-z_]*\)=/usr|\1=$sysroot/usr|" {} +
