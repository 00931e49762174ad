# What all scripts here know of this repository.
# shellcheck shell=bash disable=SC2034 # They are used where this is sourced.
# Sourced; the caller sets ROOT, the workspace's folder.

NAME=soci-index-builder
# The origin is set in Cargo.toml alone; `release/origin` changes it.
ORIGIN=$(sed -n '/^\[workspace.package\]/,/^\[/s/^repository = "\(.*\)"$/\1/p' "$ROOT/Cargo.toml")
VERSION=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"$/\1/p' "$ROOT/Cargo.toml")

# machine prints this machine's architecture as packages call it.
machine() {
    case $(uname -m) in
    x86_64 | amd64) echo amd64 ;;
    aarch64 | arm64) echo arm64 ;;
    *)
        echo "nothing is released for $(uname -m)" >&2
        return 1
        ;;
    esac
}

# target prints what programs for this machine are compiled for, as Rust calls it.
target() {
    local host
    host=$(rustc -vV | sed -n 's/^host: //p')
    case $(system) in
    linux) echo "${host%%-*}-unknown-linux-musl" ;;
    *) echo "$host" ;;
    esac
}

# system prints this machine's system as packages call it.
system() {
    case $(uname -s) in
    Linux) echo linux ;;
    Darwin) echo macos ;;
    *)
        echo "nothing is released for $(uname -s)" >&2
        return 1
        ;;
    esac
}
