FROM debian
RUN echo $((1<<2)) && cat <<<"x" && \
  cat <<EOF > /x
hello
EOF
