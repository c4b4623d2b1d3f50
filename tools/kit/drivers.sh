# SPDX-License-Identifier: MIT
# drivers.sh - finds OpenCL drivers, also such as no ICD file names; read by on-device with "."

# use_sysroot DIR: compiler, pkg-config and loader find what lies in DIR, which packages.sh unpacked; programs come last
use_sysroot() {
    for dir in "$1"/usr/lib "$1"/usr/lib/*-linux-gnu "$1"/usr/lib64 "$1"/usr/share; do
        [ -d "$dir" ] || continue
        [ ! -d "$dir/pkgconfig" ] || export PKG_CONFIG_PATH="$dir/pkgconfig${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}"
        case $dir in */share) continue ;; esac
        export LD_LIBRARY_PATH="$dir${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
        export LIBRARY_PATH="$dir${LIBRARY_PATH:+:$LIBRARY_PATH}"
    done
    export CPATH="$1/usr/include${CPATH:+:$CPATH}" PATH="$PATH:$1/usr/bin"
}

# driver_folders FIRST: where drivers lie, one folder a line, those of this machine's own settings first
driver_folders() {
    [ -z "$1" ] || echo "$1"
    echo "${LD_LIBRARY_PATH:-}" | tr : '\n'
    { ldconfig -p || /sbin/ldconfig -p; } 2>/dev/null | sed -n 's|.*=> \(.*\)/[^/]*$|\1|p' | sort -u
    for dir in /usr/lib /usr/lib64 /usr/lib/*-linux-gnu /usr/lib/*-linux-gnu/nvidia/current /usr/lib/wsl/lib \
        /usr/local/nvidia/lib* /usr/local/cuda/compat \
        /opt/rocm*/lib /opt/rocm*/opencl/lib /opt/amdgpu*/lib/*-linux-gnu; do
        [ ! -d "$dir" ] || echo "$dir"
    done
}

# find_drivers FIRST VENDORS: fills the folder VENDORS with copies of the ICD files in force and with new ones for
# drivers that have none, and makes it the loader's; prints what it found. Where a driver lies outside of the loader's
# own folders, the libraries that it needs lie beside it: LD_LIBRARY_PATH gets that folder.
find_drivers() {
    rm -rf "$2"
    mkdir -p "$2"
    present=${OCL_ICD_VENDORS:-${OPENCL_VENDOR_PATH:-/etc/OpenCL/vendors}}
    for icd in "$present" "$present"/*.icd; do # the variable may name one file
        [ -f "$icd" ] || continue
        cp "$icd" "$2/"
        echo "ICD file $icd: $(cat "$icd")"
    done
    driver_folders "$1" >"$2/folders"
    for driver in libnvidia-opencl.so.1 libamdocl64.so libpocl.so.2; do
        stem=${driver%.so*}
        lib=$(while read -r dir; do
            [ -z "$dir" ] || [ ! -e "$dir/$driver" ] || { echo "$dir/$driver"; break; }
        done <"$2/folders")
        [ -n "$lib" ] || continue
        case ${lib%/*} in
        /lib | /lib64 | /usr/lib | /usr/lib64 | /lib/*-linux-gnu | /usr/lib/*-linux-gnu) ;;
        *) export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}${lib%/*}" ;;
        esac
        real=$(readlink -f "$lib") # drivers look for parts of theirs beside the file, not beside a link to it
        if grep -qs "$stem\.so" "$2"/*.icd; then
            echo "library $lib: has an ICD file"
        elif grep -qsxF "$real" "$2/real"; then
            echo "library $lib: the same as one before"
        else
            echo "$real" >"$2/${stem#lib}.icd"
            echo "library $lib: ICD file written"
        fi
        echo "$real" >>"$2/real"
    done
    rm -f "$2/folders" "$2/real"
    export OCL_ICD_VENDORS="$2" OPENCL_VENDOR_PATH="$2"
    echo "OCL_ICD_VENDORS=$2 LD_LIBRARY_PATH=${LD_LIBRARY_PATH:-}"
}
