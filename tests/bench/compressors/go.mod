module soci-index-builder/tests/bench/compressors

go 1.24

require github.com/klauspost/compress v1.18.0
