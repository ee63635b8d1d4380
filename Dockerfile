# The image holds one static program, the certificates of the public
# authorities and an empty folder for the store. There is no shell. The same
# sources make the same program, bit for bit, wherever they are built.
#
#   docker build --build-arg VERSION=v0.1.0 -t akprox .
#   docker buildx build --platform linux/amd64,linux/arm64 --build-arg VERSION=v0.1.0 -t akprox .
#   docker run -v ./akprox.yaml:/etc/akprox/akprox.yaml:ro -v akprox-data:/data -p 9000:9000 akprox

FROM --platform=$BUILDPLATFORM golang:1.26-bookworm AS build
ARG TARGETOS=linux
ARG TARGETARCH
ARG VERSION=dev
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY cmd cmd
COPY outpost outpost
COPY providers providers
COPY proxy proxy
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -mod=readonly -buildvcs=false -trimpath \
        -ldflags "-s -w -buildid= -X main.version=$VERSION" -o /image/akprox ./cmd/akprox \
 && mkdir -p /image/data /image/etc/akprox /image/etc/ssl/certs \
 && cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/

FROM scratch
ARG VERSION=dev
LABEL org.opencontainers.image.title="akprox" \
      org.opencontainers.image.description="A forward-auth outpost: any reverse proxy asks it whether a request may pass" \
      org.opencontainers.image.source="https://github.com/akprox/akprox" \
      org.opencontainers.image.documentation="https://github.com/akprox/akprox/tree/main/docs" \
      org.opencontainers.image.version="$VERSION"
COPY --from=build /image/akprox /akprox
COPY --from=build /image/etc /etc
COPY --from=build --chown=65532:65532 /image/data /data
USER 65532:65532
# The store's default path, akprox-data, is relative: it lies in this folder.
WORKDIR /data
VOLUME /data
ENV AKPROX_CONFIG=/etc/akprox/akprox.yaml
# HTTP, HTTPS, metrics. server.metrics is 127.0.0.1:9300 unless the document
# says otherwise, so 9300 answers nobody outside of the container by default.
EXPOSE 9000 9443 9300
HEALTHCHECK --interval=10s --timeout=6s --start-period=5s CMD ["/akprox", "healthcheck"]
ENTRYPOINT ["/akprox"]
CMD ["run"]
