# Compiler flags for the two C parts, sourced by build and check. Newer flags are used where the compiler knows them.

readonly CC=${CC:-gcc}

WARNINGS=(-std=gnu11 -Wall -Wextra -Wformat=2 -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Werror)
HARDENING=(-O2 -D_FORTIFY_SOURCE=3 -fstack-protector-strong -fstack-clash-protection -ftrivial-auto-var-init=zero)
LINK_HARDENING=(-Wl,-z,relro,-z,now,-z,noexecstack)

knows_flag() {
  "$CC" -Werror "$1" -x c -c /dev/null -o /dev/null 2>/dev/null
}

# Control-flow protection is a flag of its own on each architecture.
case $(uname -m) in
  x86_64) HARDENING+=(-fcf-protection=full) ;;
  aarch64) HARDENING+=(-mbranch-protection=standard) ;;
esac
for flag in -fstrict-flex-arrays=3 -fzero-init-padding-bits=all; do
  if knows_flag "$flag"; then HARDENING+=("$flag"); fi
done
