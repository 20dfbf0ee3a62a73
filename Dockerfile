# An image with one static program, run by an unprivileged user.
#
#   docker build -t credenza:0.2.0 .                                                builds the program and the image
#   docker buildx build --platform linux/amd64,linux/arm64 -t credenza:0.2.0 .      each natively or emulated
#   packaging/image-root.sh PROGRAM dist/image &&
#     docker build -t credenza:0.2.0 --target prebuilt -f Dockerfile dist/image     with a program of `make static`

# Any Debian image with Cargo (1.91 or newer), a C compiler and ca-certificates works.
ARG BASE=rust:1.91-slim-bookworm

FROM scratch AS frame
ARG VERSION=0.2.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="credenza" \
      org.opencontainers.image.description="A local credential broker for AWS and S3" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# /shared is for a volume that the program mounts too. The token is in a folder below it.
# (The variable names the token file; it is no secret.)
# hadolint ignore=DL3064
ENV HOME=/home/credenza \
    CREDENZA_TOKEN_FILE=/shared/credenza/token
USER 65532:65532
ENTRYPOINT ["/usr/bin/credenza"]
CMD ["serve"]
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s --retries=3 CMD ["/usr/bin/credenza", "status", "--ready"]

FROM frame AS prebuilt
COPY root/ /
COPY --chown=65532:65532 shared/ /shared/

FROM ${BASE} AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock LICENSE README.md ./
COPY src/ src/
COPY testkit/ testkit/
COPY packaging/image-root.sh packaging/
# The target is named, although it is the host's: without it, the flags would apply to build scripts and macros too.
RUN host=$(rustc --print host-tuple) && \
    RUSTFLAGS="-C target-feature=+crt-static" CARGO_TARGET_DIR=/target \
      cargo build --release --locked --target "$host" && \
    packaging/image-root.sh "/target/$host/release/credenza" /image

FROM frame AS image
COPY --from=build /image/root/ /
COPY --from=build --chown=65532:65532 /image/shared/ /shared/
