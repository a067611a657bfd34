# syntax=docker/dockerfile:1
# One program on a small base: `docker build -t wal2graph .`
FROM rust:1.93-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends libssl-dev zlib1g-dev pkg-config \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# OpenSSL and zlib are linked in: nothing hangs on what the base below has.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    export OPENSSL_LIB_DIR="$(pkg-config --variable=libdir libssl)" OPENSSL_STATIC=1 LIBZ_SYS_STATIC=1 \
    && export OPENSSL_INCLUDE_DIR="$(pkg-config --variable=includedir libssl)" \
    && cargo build --locked --release --package wal2graph --bin wal2graph \
    && install -D target/release/wal2graph /out/wal2graph

# glibc, libgcc and the certificates of the public authorities. No shell, no package manager, user 65532.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /out/wal2graph /usr/local/bin/wal2graph
COPY LICENSE /usr/share/doc/wal2graph/LICENSE
# Nothing is written to disk: `docker run --read-only` works.
USER 65532:65532
# Flags win over these, and these over a file. A container has to listen on its address to be asked from outside.
ENV WAL2GRAPH_HTTP=0.0.0.0:8080 WAL2GRAPH_LOG_FORMAT=json
EXPOSE 8080
# Unhealthy while it copies, too: `/ready` says why, and so does the output of the check.
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s --retries=3 CMD ["wal2graph", "status", "--ready"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["wal2graph"]
CMD ["run"]
