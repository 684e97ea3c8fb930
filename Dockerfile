# One machine: `playhead up` over an embedded log, everything under /data.
# Checked by parsing only: no engine was at hand to build or run it.

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# .dockerignore leaves rust-toolchain.toml out: the image's own toolchain is meant.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/target \
    CARGO_TARGET_DIR=/target cargo build --release --locked --package playhead \
    && cp /target/release/playhead /usr/local/bin/playhead

FROM debian:bookworm-slim
RUN useradd --system --uid 10001 --home-dir /data playhead \
    && install -d -o playhead -g playhead -m 0750 /data
COPY --from=build /usr/local/bin/playhead /usr/local/bin/playhead
USER playhead
VOLUME /data
WORKDIR /data
ENV PLAYHEAD_DATA=/data
# A container's loopback is nobody's: events come through the port that the engine publishes. Who can reach that port
# can post, so it needs `-e PLAYHEAD_INGEST__ALLOW_ANONYMOUS=true`, said by whoever publishes it.
ENV PLAYHEAD_INGEST__LISTEN=0.0.0.0:8080
EXPOSE 8080
# Ready, not only alive. The shell's own TCP: the image has no HTTP client.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s CMD ["bash", "-c", \
    "exec 3<>/dev/tcp/127.0.0.1/8081 && printf 'GET /readyz HTTP/1.0\\r\\n\\r\\n' >&3 && head -n 1 <&3 | grep -q ' 200 '"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["playhead"]
CMD ["up"]
