# The musl target links everything in, so the last stage needs no operating system.
FROM rust:1.95-alpine AS build
RUN apk add --no-cache musl-dev
WORKDIR /src
COPY . .
RUN cargo build --release --locked && cp target/release/drydock /drydock

FROM scratch
COPY --from=build /drydock /drydock
USER 65532:65532
ENTRYPOINT ["/drydock"]
