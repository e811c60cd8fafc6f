# One image for all services and the command line. Nothing in it runs as root, and nothing writes to its file system:
# what must be written goes to /fleet (the simulator's kubeconfig) or /tmp.
FROM python:3.12-slim AS build
WORKDIR /brim
RUN python -m venv /opt/brim
COPY requirements.lock ./
RUN /opt/brim/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY services services
COPY shared shared
COPY simulator simulator
COPY cli cli
COPY examples examples
RUN /opt/brim/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.12-slim
RUN useradd --system --uid 10001 --no-create-home brim && install -d -o brim -g brim /fleet
COPY --from=build /opt/brim /opt/brim
ENV PATH=/opt/brim/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
USER 10001
WORKDIR /tmp
ENTRYPOINT ["brim"]
CMD ["--help"]
