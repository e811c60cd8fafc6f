# One image for all services and the command line. Nothing in it runs as root, and nothing writes to its file system:
# what must be written goes to /fleet (the simulated members' state and their kubeconfig) or /tmp.
#
# The same commit on the same base gives the same layers: dependencies come with their hashes from the lock file, and
# every file that is added has one time, SOURCE_DATE_EPOCH. PYTHON_IMAGE is any image with Python >= 3.11 and its venv
# module; name it with its digest where two builds, weeks apart, have to be the same.
ARG PYTHON_IMAGE=python:3.12-slim

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
RUN python3 -m venv /tools && python3 -m venv --without-pip /brim
WORKDIR /source
COPY requirements.lock ./
RUN /tools/bin/pip --python /brim/bin/python3 install --no-compile --require-hashes -r requirements.lock
COPY . .
# Compiled here, because on a read-only file system every start would compile it all again; by hash, for a compiled file
# that names its source's time would be another one after every checkout.
ARG SOURCE_DATE_EPOCH=0
RUN umask 022 \
    && chmod -R u=rwX,go=rX . \
    && /tools/bin/pip --python /brim/bin/python3 install --no-compile --no-deps --no-build-isolation . \
    && PYTHONHASHSEED=0 /brim/bin/python3 -m compileall -q -j 1 --invalidation-mode unchecked-hash /brim/lib \
    && install -d -o 10001 -g 10001 /image/fleet \
    && mv /brim /image/ \
    && find /image -exec touch --no-dereference --date "@$SOURCE_DATE_EPOCH" {} +

FROM ${PYTHON_IMAGE}
COPY --from=build /image/ /
ENV PATH=/brim/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
USER 10001:10001
WORKDIR /tmp
ENTRYPOINT ["brim"]
CMD ["--help"]
