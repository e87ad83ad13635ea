# The steps are those of make. ADDRESS is where browsers reach this machine:
#   docker build -t vivavoce .
#   docker run -p 8080:8080/tcp -p 8080:8080/udp -v vivavoce:/data vivavoce \
#       serve --tls --advertise ADDRESS
# `docker stop` and its 10 s are enough; for interviews that shall end first: docs/operations.md.
# Behind a reverse proxy that ends TLS: serve --host 0.0.0.0 --advertise ADDRESS
FROM python:3.13-slim-bookworm

RUN apt-get update --quiet=2 \
    && apt-get install --yes --quiet=2 --no-install-recommends make \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin vivavoce \
    && install -d -o vivavoce -g vivavoce -m 0700 /data

ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 VIVAVOCE_DATA_DIR=/data
WORKDIR /app
# The packages change more seldom than the code: a layer of their own.
COPY Makefile ./
COPY .ci/ .ci/
COPY requirements/ requirements/
RUN make packages
COPY pyproject.toml LICENSE NOTICE ./
COPY server/ server/
COPY loadtest/ loadtest/
COPY tools/ tools/
COPY web_client/ web_client/
RUN make install

USER vivavoce
VOLUME /data
EXPOSE 8080/tcp 8080/udp
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD [".venv/bin/python", ".ci/healthcheck.py"]
ENTRYPOINT ["/app/.venv/bin/vivavoce"]
CMD ["serve", "--tls"]
