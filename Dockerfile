# The steps are those of make. Behind a reverse proxy that ends TLS, or with `--tls` of its own:
#   docker build -t vivavoce .
#   docker run -p 8080:8080/tcp -p 8080:8080/udp -v vivavoce:/data vivavoce
FROM python:3.13-slim-bookworm

RUN apt-get update --quiet=2 \
    && apt-get install --yes --quiet=2 --no-install-recommends make \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin vivavoce \
    && install -d -o vivavoce -g vivavoce -m 0700 /data

ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1
WORKDIR /app
# The packages change more seldom than the code: a layer of their own.
COPY Makefile ./
COPY .ci/ .ci/
COPY requirements/ requirements/
RUN make packages
COPY pyproject.toml LICENSE ./
COPY server/ server/
COPY loadtest/ loadtest/
COPY web_client/ web_client/
RUN make install

USER vivavoce
VOLUME /data
EXPOSE 8080/tcp 8080/udp
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD ["/app/.venv/bin/python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8080/healthz', timeout=2)"]
ENTRYPOINT ["/app/.venv/bin/vivavoce"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8080", "--data", "/data"]
