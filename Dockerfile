# Two stages: the first has pip and the build backend, the second has neither. Runs with a read-only root file system,
# without capabilities and as a numeric user; the one folder it writes is /var/lib/watchdog (the SQLite store).

FROM python:3.12-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_COMPILE=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
RUN python -m venv /opt/build && python -m venv --without-pip /opt/watchdog
# Dependencies before the source: a change of ours rebuilds only the last layer.
COPY requirements/runtime.txt requirements/build.txt requirements/
RUN /opt/build/bin/pip install --require-hashes --requirement requirements/build.txt \
    && /opt/build/bin/pip --python /opt/watchdog/bin/python install --require-hashes --requirement requirements/runtime.txt
COPY pyproject.toml README.md LICENSE ./
COPY watchdog watchdog
# unchecked-hash: no stat of a source file at each import, and a start that does not depend on file times.
RUN /opt/build/bin/hatchling build --target wheel --directory /dist \
    && /opt/build/bin/pip --python /opt/watchdog/bin/python install --no-deps --no-index /dist/*.whl \
    && /opt/watchdog/bin/python -m compileall -qq -j 0 --invalidation-mode unchecked-hash /opt/watchdog/lib \
    && install --directory --owner 65532 --group 65532 /var/lib/watchdog

FROM python:3.12-slim
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="deploy-watchdog" \
      org.opencontainers.image.description="Watches every Cloud Run deploy for 24 hours and rolls a bad one back" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/watchdog /opt/watchdog
COPY --from=build --chown=65532:65532 /var/lib/watchdog /var/lib/watchdog
ENV PATH=/opt/watchdog/bin:$PATH \
    HOME=/var/lib/watchdog \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    WATCHDOG_LISTEN=0.0.0.0:8080 \
    WATCHDOG_DATABASE_URL=sqlite:////var/lib/watchdog/watchdog.db
USER 65532:65532
WORKDIR /var/lib/watchdog
VOLUME /var/lib/watchdog
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ['WATCHDOG_LISTEN'].rpartition(':')[2] + '/livez', timeout=2)"]
ENTRYPOINT ["python", "-m", "watchdog"]
CMD ["run"]
