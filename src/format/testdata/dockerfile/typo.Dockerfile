FROM debian:bookworm-slim
RUN true

  RUNN apt-get update
