# Compiler flags for the two C parts, sourced by build and check. Newer flags are used where the compiler knows them.

readonly CC=${CC:-gcc}

WARNINGS=(-std=gnu11 -Wall -Wextra -Wformat=2 -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Werror)
HARDENING=(-O2 -D_FORTIFY_SOURCE=3 -fstack-protector-strong -fstack-clash-protection -ftrivial-auto-var-init=zero)
LINK_HARDENING=(-Wl,-z,relro,-z,now,-z,noexecstack)

# cloche-init is static and linked with musl, which beats glibc's static PIE at all that counts there (measured, see
# sandbox/init/README.md). musl's own compiler wrapper cannot link a static PIE, so its parts are named one by one.
MACHINE=$(uname -m)
readonly MUSL=/usr/lib/$MACHINE-linux-musl
INIT_COMPILE=(-nostdinc -isystem "/usr/include/$MACHINE-linux-musl" -isystem "$("$CC" -print-file-name=include)" -fPIE)
INIT_LINK_BEFORE=(-static-pie -nostdlib "$MUSL/rcrt1.o" "$MUSL/crti.o")
INIT_LINK_AFTER=("-L$MUSL" -lc -lgcc "$MUSL/crtn.o")

# The same program for tests, with the sanitizers, which are made for glibc and cannot be static.
SANITIZE=(-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all -fPIE -pie)

knows_flag() {
  "$CC" -Werror "$1" -x c -c /dev/null -o /dev/null 2>/dev/null
}

# Control-flow protection is a flag of its own on each architecture.
case $MACHINE in
  x86_64) HARDENING+=(-fcf-protection=full) ;;
  aarch64) HARDENING+=(-mbranch-protection=standard) ;;
esac
for flag in -fstrict-flex-arrays=3 -fzero-init-padding-bits=all; do
  if knows_flag "$flag"; then HARDENING+=("$flag"); fi
done
