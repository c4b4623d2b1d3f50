#!/bin/sh
# SPDX-License-Identifier: MIT
# install.sh - what a user of the library meets: the installed tree, pkg-config, a Meson subproject, no driver at all
#
#     install.sh BUILD SOURCE    installs BUILD as it is, without building anything in it
set -eu
build=$1 source=$2
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
n_checks=0

fail()
{
    echo "FAIL: $*" >&2
    exit 1
}

# quietly COMMAND...: its output is shown only if it fails
quietly()
{
    "$@" >"$tmp/log" 2>&1 || { cat "$tmp/log" >&2; fail "$*"; }
}

good()
{
    n_checks=$((n_checks + 1))
}

# one FILE: the path of the one file of that name below the installed tree
one()
{
    found=$(find "$tmp/root" -name "$1")
    [ "$(printf '%s\n' "$found" | grep -c .)" -eq 1 ] || fail "$1 is not installed once: '$found'"
    printf '%s\n' "$found"
}

# prints_attention FILE: the lines of the example
prints_attention()
{
    grep -q '^attn:.* on ' "$1" || fail "no plan is explained in $1"
    grep -q ': attn/' "$1" || fail "no kernel is named in $1"
    grep -q '^sequence 0, head 0: .*sequence 1, head 0: ' "$1" || fail "no outputs in $1"
    ! grep -q nan "$1" || fail "NaN in $1"
    good
}

# ---- the installed tree
quietly env DESTDIR="$tmp/root" meson install -C "$build" --no-rebuild
pc=$(one flashdec.pc)
header=$(one flashdec.h)
lib=$(find "$tmp/root" -name 'libflashdec.so.*.*.*')
libdir=$(dirname "$lib")
[ -f "$lib" ] || fail 'no libflashdec.so.X.Y.Z'
[ -L "$libdir/libflashdec.so" ] && [ -L "$libdir/libflashdec.so.0" ] || fail 'the links to the library are missing'
readelf -d "$lib" | grep -q 'SONAME.*\[libflashdec\.so\.0\]' || fail 'the soname is not libflashdec.so.0'
! readelf -d "$lib" | grep -q 'R\(UN\)\?PATH' || fail 'the library has a run path'
stray=$(nm -D --defined-only "$lib" | awk '$3 !~ /^fdec_/ {print $3}')
[ -z "$stray" ] || fail "exported, and no fdec_: $stray"
good
for name in run bench info tune; do
    program=$(one "flashdec-$name")
    LD_LIBRARY_PATH=$libdir "$program" --help >"$tmp/help" || fail "flashdec-$name --help"
    [ -s "$tmp/help" ] || fail "flashdec-$name --help says nothing"
    if command -v scdoc >/dev/null; then
        [ -s "$(one "flashdec-$name.1")" ] || fail "the man page of flashdec-$name is empty"
    fi
    good
done

# ---- the public header, alone, with the macros that C++ expands in another way
cat >"$tmp/user.c" <<'END'
#include <flashdec.h>
fdec_attn_params make_params(void);
fdec_attn_params make_params(void)
{
    fdec_attn_params params = FDEC_ATTN_PARAMS_INIT;
    return params;
}
END
cp "$tmp/user.c" "$tmp/user.cc"
strict='-Wall -Wextra -Wpedantic -Wmissing-field-initializers -Werror -fsyntax-only'
for compiler in gcc clang clang-14; do
    command -v $compiler >/dev/null || continue
    $compiler -std=c99 $strict -I"$(dirname "$header")" "$tmp/user.c" || fail "flashdec.h as C99, $compiler"
    good
done
for compiler in g++ clang++ clang++-14; do
    command -v $compiler >/dev/null || continue
    for std in c++98 c++17; do
        $compiler -std=$std $strict -Wno-long-long -I"$(dirname "$header")" "$tmp/user.cc" ||
            fail "flashdec.h as $std, $compiler"
        good
    done
done

# ---- the example, by pkg-config
awk '/^```c$/ {on = 1; next} /^```$/ {if (on) exit} on' "$source/README.md" >"$tmp/readme.c"
cmp "$tmp/readme.c" "$source/docs/example.c" || fail "README.md's program is not docs/example.c"
good
flags=$(PKG_CONFIG_PATH=$(dirname "$pc") PKG_CONFIG_SYSROOT_DIR=$tmp/root pkg-config --cflags --libs flashdec)
${CC:-cc} -std=c99 -Wall -Wextra -Wpedantic -Werror "$source/docs/example.c" -o "$tmp/example" $flags ||
    fail "building the example: $flags"
LD_LIBRARY_PATH=$libdir "$tmp/example" >"$tmp/out" || fail "the example: exit status $?"
prints_attention "$tmp/out"

# ---- no driver: the library loads, and says so
mkdir "$tmp/none"
status=0
LD_LIBRARY_PATH=$libdir OCL_ICD_VENDORS=$tmp/none OPENCL_VENDOR_PATH=$tmp/none "$tmp/example" \
    >"$tmp/none.out" 2>"$tmp/none.err" || status=$?
[ $status -eq 1 ] || fail "without a driver: exit status $status"
[ ! -s "$tmp/none.out" ] || fail 'without a driver: something on standard output'
grep -q 'there is no OpenCL device' "$tmp/none.err" || fail "without a driver: '$(cat "$tmp/none.err")'"
good

# ---- a Meson subproject, built and run where it stands
mkdir -p "$tmp/user/subprojects"
ln -s "$(cd "$source" && pwd)" "$tmp/user/subprojects/flashdec"
cp "$source/docs/example.c" "$tmp/user"
cat >"$tmp/user/meson.build" <<'END'
project('user', 'c', default_options: ['c_std=c99', 'warning_level=3', 'werror=true'])
flashdec = dependency('flashdec', fallback: 'flashdec', default_options: ['tests=false', 'tools=false'])
executable('example', 'example.c', dependencies: flashdec)
END
quietly meson setup "$tmp/user/build" "$tmp/user" --wrap-mode=forcefallback
quietly meson compile -C "$tmp/user/build"
extra=$(find "$tmp/user/build" -name flashdec-run -o -name checkcl)
[ -z "$extra" ] || fail "built in spite of tools=false, tests=false: $extra"
"$tmp/user/build/example" >"$tmp/out" || fail "the example of the subproject: exit status $?"
prints_attention "$tmp/out"
echo "$n_checks passed"
