FROM debian
RUN --mount=type=cache,target=/root/.cache \
    make
