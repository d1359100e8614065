#!/bin/sh
# A container command that keeps networks, volumes and containers as files, and runs steps on this host.
here=$(dirname "$0")
echo "$*" >> "$here/calls"

listed() { # DIRECTORY LABEL
    cd "$here/$1" && grep -lx "${2#label=}" -- * 2> /dev/null
    true
}

removed() { # DIRECTORY NAME...
    directory=$1
    shift
    for name; do rm "$here/$directory/$name" || exit 1; done
}

case "$1 $2" in
    "network inspect") [ -f "$here/network/$3" ] ;;
    "network create" | "volume create") echo "$4" > "$here/$1/$5" ;;
    "network ls" | "volume ls") listed "$1" "$5" ;;
    "network rm" | "volume rm") kind=$1; shift 2; removed "$kind" "$@" ;;
    "ps -aq") listed container "$4" ;;
    "rm -f") shift 2; removed container "$@" ;;
    "kill $2") kill -s KILL -- "-$(cat "$here/pid/$2")" ;;
    "run --rm")
        shift 2
        while :; do
            case $1 in
                --name) name=$2 ;;
                --label) label=$2 ;;
                --network) network=$2 ;;
                --env-file) environment=$2 ;;
                --volume) case $2 in *:/dlite) outputs=${2%:/dlite} ;; esac ;;
                --env | --user) ;;
                --entrypoint) shell=$2 ;;
                *) break ;;
            esac
            shift 2
        done
        shift # the image
        [ -f "$here/network/$network" ] || { echo "network $network not found" >&2; exit 125; }
        stat -c %a "$environment" >> "$here/modes"
        while IFS= read -r line; do export "$line"; done < "$environment"
        DLITE_COMMANDS=$(printf '%s' "$DLITE_COMMANDS" | sed "s#> /dlite/#> $outputs/#")
        export DLITE_COMMANDS
        setsid "$shell" "$@" &
        echo $! > "$here/pid/$name"
        echo "$label" > "$here/container/$name"
        wait $!
        code=$?
        rm -f "$here/container/$name"
        exit $code
        ;;
    *) echo "what is $*" >&2; exit 125 ;;
esac
