# Where tools outside the repository live, and which versions; sourced, not run.
# shellcheck shell=bash disable=SC2034
TOOLS="${XDG_CACHE_HOME:-$HOME/.cache}/sim/tools"
CARGO_DENY_VERSION=0.20.2
CARGO_DENY="$TOOLS/bin/cargo-deny"
CARGO_FUZZ_VERSION=0.13.2
CARGO_FUZZ="$TOOLS/bin/cargo-fuzz"
