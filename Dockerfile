# The image of soci-index-builder: one program, which is the worker and the commands, and under their names both Lambda
# functions.
#
#   docker build --build-arg COMMIT="$(git rev-parse HEAD)" --tag soci-index-builder .
#   docker build --target symbols --output symbols .        # what a debugger needs
#
# The last stage has the programs, the libraries they load, CA certificates and nothing to run a command with.
# linux/amd64 and linux/arm64; a build for the other one runs under emulation.

# An image with Rust, gcc and binutils on Debian 12 (glibc 2.36) or later. A digest pins it: name@sha256:...
ARG BUILD_BASE=docker.io/library/rust:1.95-slim-bookworm

# The manifests with empty sources: they change only when dependencies do, and so does what is built from them.
FROM ${BUILD_BASE} AS manifests
COPY . /src
RUN cd /src && mkdir /manifests && cp --parents Cargo.toml Cargo.lock */Cargo.toml */*/Cargo.toml /manifests && \
    for source in */src/lib.rs */src/main.rs */benches/*.rs */tests/*/main.rs */tests/*.rs tests/*/main.rs \
        tests/*/src/main.rs crates/*/src/lib.rs crates/*/benches/*.rs crates/*/tests/*/main.rs crates/*/tests/*.rs; do \
        mkdir -p "/manifests/${source%/*}" && echo 'fn main() {}' >"/manifests/$source"; \
    done

FROM ${BUILD_BASE} AS build
# It writes the list of dependencies into the program, where scanners for vulnerabilities find it.
ARG CARGO_AUDITABLE_VERSION=0.7.7
RUN command -v cargo-auditable >/dev/null || \
    cargo install --quiet --locked --root /usr/local --version "${CARGO_AUDITABLE_VERSION}" cargo-auditable
# How the programs are optimised. `quick` takes a fraction of the time, and gives larger and slower programs.
ARG PROFILE=release
# Relocations are packed, as glibc 2.36 reads them: that makes the program half a megabyte to a megabyte smaller. For arm64
# the linker of Debian 12 cannot do it, and says so; programs are smaller there in any case.
ENV RUSTFLAGS="-C link-arg=-Wl,-z,pack-relative-relocs"
WORKDIR /src
COPY --from=manifests /manifests .
RUN cargo auditable build --locked --profile "${PROFILE}" -p soci-index-builder
COPY . .
ARG COMMIT
# Sources have the times of the checkout, which may be older than what was built from the empty ones.
RUN find . -name '*.rs' -not -path './target/*' -exec touch {} + && \
    export SOCI_INDEX_BUILDER_COMMIT="${COMMIT}" && \
    cargo auditable build --locked --profile "${PROFILE}" -p soci-index-builder && \
    mkdir -p /programs /symbols && \
    objcopy --only-keep-debug "target/${PROFILE}/soci-index-builder" /symbols/soci-index-builder.debug && \
    objcopy --strip-all --add-gnu-debuglink=/symbols/soci-index-builder.debug "target/${PROFILE}/soci-index-builder" \
        /programs/soci-index-builder && \
    ln -s soci-index-builder /programs/filter-lambda && \
    ln -s soci-index-builder /programs/index-lambda
# The root of the image. Where the loader looks for libraries is the same there as here.
RUN mkdir -p /root-fs/usr/local/bin /root-fs/etc/ssl/certs /root-fs/usr/share/sbom \
        /root-fs/usr/share/licenses/soci-index-builder && \
    cp --no-dereference /programs/* /root-fs/usr/local/bin && \
    ldd /programs/soci-index-builder | grep -o '/[^ :]*\.so[^ ]*' | sort -u | xargs -I '{}' cp --dereference --parents '{}' /root-fs && \
    cp --dereference /etc/ssl/certs/ca-certificates.crt /root-fs/etc/ssl/certs && \
    cp LICENSE /root-fs/usr/share/licenses/soci-index-builder && \
    cp Cargo.lock /root-fs/usr/share/sbom && \
    echo 'nonroot:x:65532:65532:nonroot:/:/nonexistent' >/root-fs/etc/passwd && \
    echo 'nonroot:x:65532:' >/root-fs/etc/group && \
    echo 'hosts: files dns' >/root-fs/etc/nsswitch.conf

FROM scratch AS symbols
COPY --from=build /symbols /

FROM scratch
ARG VERSION=0.1.0
ARG COMMIT
ARG CREATED
LABEL org.opencontainers.image.title="soci-index-builder" \
      org.opencontainers.image.description="Builds SOCI indexes for container images" \
      org.opencontainers.image.source="https://github.com/soci-index-builder/soci-index-builder" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${COMMIT}" \
      org.opencontainers.image.created="${CREATED}"
COPY --from=build /root-fs /
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
USER 65532:65532
EXPOSE 8080
STOPSIGNAL SIGTERM
# A Lambda function of this image has /usr/local/bin/filter-lambda or /usr/local/bin/index-lambda as its entry point.
ENTRYPOINT ["/usr/local/bin/soci-index-builder"]
CMD ["worker"]
