# docker build -t conanproxy --build-arg VERSION=1.0.0 .
# docker run -p 9300:9300 -v conan-data:/data conanproxy

FROM golang:1.26 AS build
ARG VERSION=""
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /out/conanproxy ./cmd/conanproxy \
 && install -d -m 0750 /out/data /out/tmp

FROM scratch
# The roots that upstreams' certificates are checked against; an upstream's ca_file adds to them.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/conanproxy /conanproxy
# A new volume takes over owner and mode of this folder. A folder of the host that is mounted here must belong to 65532.
COPY --from=build --chown=65532:65532 /out/data /data
# `config check` builds the server in a temporary folder.
COPY --from=build --chown=65532:65532 /out/tmp /tmp
# The health check finds the running server by the address that it notes in the data directory.
ENV CONANPROXY_LISTEN=:9300 \
    CONANPROXY_DATA_DIR=/data
USER 65532:65532
WORKDIR /data
VOLUME /data
EXPOSE 9300
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=6s --start-period=30s --retries=3 CMD ["/conanproxy", "healthcheck"]
ENTRYPOINT ["/conanproxy"]
CMD ["serve"]
