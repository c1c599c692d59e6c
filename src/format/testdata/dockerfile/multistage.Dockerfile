# syntax=docker/dockerfile:1.7
ARG BASE=debian:bookworm-slim
FROM --platform=linux/amd64 ${BASE} AS build
# Toolchain first: it changes least.
RUN apt-get update \
    # comments go, the command goes on

 && apt-get install -y --no-install-recommends g++ \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
ARG ERROR_RATE=0 LATENCY
RUN ["g++", "-O2", "-o", "/catalog", "main.cc"]

FROM build AS test
RUN ./unit-tests

from debian:bookworm-slim as run
COPY --from=build --chown=app:app --chmod=0755 /catalog /usr/local/bin/
COPY --from=0 /src/static /var/www
COPY --from=alpine:3 ["/a file", "/b/"]
ENV PORT=8080 GREETING="hello world" PATH=/opt/bin:$PATH ESCAPED=a\ b
ENV OLD the  old 'form'
LABEL org.opencontainers.image.title="Catalog" "with space"=x
EXPOSE 8080 9090/udp
USER app:app
VOLUME ["/data"]
VOLUME /a /b
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
HEALTHCHECK --interval=5s --timeout=1m30s --start-period=500ms --retries=4 CMD curl -f http://localhost:$PORT/ || exit 1
STOPSIGNAL SIGINT
ENTRYPOINT ["/usr/local/bin/catalog"]
CMD serve now
