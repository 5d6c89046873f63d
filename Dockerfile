# One file, two images: `--target producer` (small, no torch) and `--target worker` (torch with CUDA).
FROM python:3.12-slim-bookworm AS base
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN useradd --create-home --uid 10001 maskmill
WORKDIR /app
COPY pyproject.toml README.md LICENSE ./
COPY maskmill maskmill
COPY producer producer
COPY worker worker

FROM base AS producer
RUN pip install .
USER 10001
ENTRYPOINT ["maskmill"]

FROM base AS worker
# The extra comes from this folder; its versions are bounded in pyproject.toml.
# hadolint ignore=DL3013
RUN pip install '.[worker]'
USER 10001
ENV HF_HOME=/home/maskmill/models
RUN mkdir /home/maskmill/models
ENTRYPOINT ["maskmill-worker"]
