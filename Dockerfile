# syntax=docker/dockerfile:1
FROM python:3.13-slim AS wheels
WORKDIR /build
COPY requirements.lock ./
RUN pip wheel --no-cache-dir --wheel-dir /wheels --require-hashes --no-deps --requirement requirements.lock

FROM python:3.13-slim
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DATABASE_URL=sqlite:////data/db.sqlite3
RUN --mount=type=bind,from=wheels,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-index /wheels/*.whl \
    && useradd --system --uid 10001 --home-dir /app --shell /usr/sbin/nologin marketmux \
    && install --directory --owner=marketmux /data

WORKDIR /app
COPY manage.py ./
COPY marketmux marketmux
COPY clients/python/src clients/python/src
COPY bus bus
COPY ticks ticks
COPY gateway gateway
COPY templates templates

USER 10001
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]

ENTRYPOINT ["python", "manage.py"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000"]
