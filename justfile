# The doors; what they do is in scripts/.

# list the doors
default:
    @just --list

# everything that must hold
test *steps:
    ./scripts/test {{steps}}

# format, licences and bans, clippy
lint *parts:
    ./scripts/lint {{parts}}

# look for inputs that break a rule
fuzz *args:
    ./scripts/fuzz {{args}}

# reformat
fmt:
    cargo fmt --all

# the scenario of four users, from nothing, in a temporary folder
demo:
    cargo run --release -- demo

# all tiers in one process on the default ports
standalone *args:
    cargo run --release -- standalone {{args}}
