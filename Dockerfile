# One image for every role: `playhead up`, `playhead ingest`, `playhead sink`.
# Parsed only: no engine was at hand to build or run it.

FROM rust:1.95-bookworm AS build
# librdkafka and its OpenSSL are built from source and linked in: that wants a C compiler, make and perl, all of which
# this image has. No cmake, no libclang, no libraries of the system.
WORKDIR /src
COPY . .
# .dockerignore leaves rust-toolchain.toml out: the image's own toolchain is meant.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/target \
    CARGO_TARGET_DIR=/target cargo build --release --locked --package playhead \
    && cp /target/release/playhead /usr/local/bin/playhead

FROM debian:bookworm-slim
# CA certificates: for brokers and object stores over TLS.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /data playhead \
    && install -d -o playhead -g playhead -m 0750 /data
COPY --from=build /usr/local/bin/playhead /usr/local/bin/playhead
COPY deploy/docker/playhead-ready /usr/local/bin/playhead-ready
USER 10001
VOLUME /data
WORKDIR /data
ENV PLAYHEAD_DATA=/data
# A container's loopback is nobody's: events come through the port that the engine publishes. Who can reach that port
# can post, so `up` and `ingest` want `-e PLAYHEAD_INGEST__LISTEN=0.0.0.0:8080 -e PLAYHEAD_INGEST__ALLOW_ANONYMOUS=true`,
# said by whoever publishes it.
EXPOSE 8080 8081
# Ready, not only alive.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD ["playhead-ready", "127.0.0.1:8081"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["playhead"]
CMD ["up"]
