# The ztoc commands on single layers.
# shellcheck shell=bash

cases_ztoc() {
    local layer
    for layer in debian-amd64 debian-arm64 python members independent uncompressed small; do
        run_case "ztoc build $layer" ztoc_build "$layer" 4194304
    done
    run_case "ztoc build python, small spans" ztoc_build python 65536
    run_case "ztoc build broken-checksum" ztoc_broken broken-checksum
    run_case "ztoc build broken-cut" ztoc_broken broken-cut
    for layer in debian-amd64 members uncompressed; do
        run_case "ztoc info $layer" ztoc_info "$layer"
        run_case "ztoc extract $layer" ztoc_extract "$layer"
    done
    run_case "ztoc extract: no such file" ztoc_extract_missing
}

# compression LAYER prints what the layer is to the ztoc commands.
compression() {
    [ "$1" = uncompressed ] && echo uncompressed || echo gzip
}

ztoc_build() {
    local layer=$1 span_size=$2 ours="$RUN/$1-$2.ztoc" theirs="$RUN/$1-$2.reference" line
    line=$(soci ztoc build "$LAYERS/$layer" --compression "$(compression "$layer")" --span-size "$span_size" \
        --build-tool-identifier "$TOOL" --output "$ours")
    expect "what is printed, compared with the reference's," "$line" \
        "$("$REFERENCE" ztoc -compression "$(compression "$layer")" -span-size "$span_size" -tool "$TOOL" \
            -out "$theirs" "$LAYERS/$layer")"
    cmp "$ours" "$theirs"
}

ztoc_broken() {
    local code=0 ours="$RUN/$1.ztoc"
    ! "$REFERENCE" ztoc -tool "$TOOL" "$LAYERS/$1" || fail "the reference builds this layer"
    soci ztoc build "$LAYERS/$1" --compression gzip --span-size 4194304 --build-tool-identifier "$TOOL" \
        --output "$ours" || code=$?
    expect "the exit code" "$code" 1
    [ ! -e "$ours" ] || fail "a ztoc was left behind"
}

# tar_of LAYER prints the layer's tar.
tar_of() {
    if [ "$1" = uncompressed ]; then
        cat "$LAYERS/$1"
    else
        gzip -dc "$LAYERS/$1"
    fi
}

ztoc_info() {
    local ztoc="$RUN/$1-4194304.ztoc" files
    files=$(tar_of "$1" | tar -tf - | wc -l)
    soci ztoc info "$ztoc" >"$RUN/info.txt"
    grep -qE "(^|[^0-9])$files([^0-9]|$)" "$RUN/info.txt" || fail "info does not give the $files files"
    soci ztoc info "$ztoc" --json >"$RUN/info.json"
    jq -e --argjson files "$files" '[.. | (numbers, (arrays | length))] | index($files) != null' "$RUN/info.json" ||
        fail "info --json does not give the $files files"
}

# The largest file, the one in the middle and the last one.
ztoc_extract() {
    local ztoc="$RUN/$1-4194304.ztoc" path
    tar_of "$1" | tar -tvf - | awk '$1 ~ /^-/ && NF == 6 { print $3, $6 }' >"$RUN/files"
    {
        sort -n "$RUN/files" | tail -n 1
        sed -n "$(($(wc -l <"$RUN/files") / 2))p" "$RUN/files"
        tail -n 1 "$RUN/files"
    } | cut -d' ' -f2 >"$RUN/chosen"
    expect "the number of chosen files" "$(wc -l <"$RUN/chosen")" 3
    while read -r path; do
        echo "$path"
        soci ztoc extract "$ztoc" "$LAYERS/$1" "$path" >"$RUN/extracted"
        tar_of "$1" | tar -xOf - "$path" | cmp - "$RUN/extracted"
    done <"$RUN/chosen"
}

ztoc_extract_missing() {
    local code=0
    soci ztoc extract "$RUN/small-4194304.ztoc" "$LAYERS/small" no/such/file >"$RUN/extracted" 2>"$RUN/extracted.err" || code=$?
    expect "the exit code" "$code" 1
    grep -q no/such/file "$RUN/extracted.err" || fail "the words do not name the file"
    [ ! -s "$RUN/extracted" ] || fail "something was extracted"
}
