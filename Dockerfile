# The project with everything it needs, for one machine or for profiles/kubernetes:
#   docker build -t g2net .                          for CPUs
#   docker build --build-arg DEVICE=cuda -t g2net .  for NVIDIA GPUs, with their container toolkit
# `make image` does the first and passes the git revision, which run.json then records.
# Dependencies and their versions are listed in pyproject.toml alone.
ARG PYTHON=3.12
FROM python:${PYTHON}-slim

# cpu, or cuda: PyPI's own wheels for Linux, which bring CUDA along (about 6 GB more).
ARG DEVICE=cpu
# of pyproject.toml; `notify`, `notebook` and `dev` can be named here as well
ARG EXTRAS=sim,gwosc,stack,export,tune,parquet,mlflow,pipeline

# rsync: Snakemake's storage copies the marks of the pipeline with it.
# libgomp1: scikit-learn's and torch's threads, which the slim image lacks.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends rsync libgomp1 \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/g2net

# Before the code, so that a changed module installs nothing anew. torchvision, which timm needs,
# must be of the same kind as torch: their compiled parts call each other.
COPY pyproject.toml README.md ./
RUN case "${DEVICE}" in \
        cpu) index=https://download.pytorch.org/whl/cpu ;; \
        cuda) index=https://pypi.org/simple ;; \
        *) echo "DEVICE=${DEVICE}: expected cpu or cuda" >&2; exit 1 ;; \
    esac \
    && torch=$(python -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; print(next(d for d in project['dependencies'] if d.startswith('torch')))") \
    && python -m pip install --no-cache-dir --index-url "${index}" "${torch}" torchvision \
    && python -m pip install --no-cache-dir ".[${EXTRAS}]"

COPY . .

# An image has no .git to ask.
ARG REVISION=
ENV G2NET_REVISION=${REVISION} \
    PYTHONUNBUFFERED=1 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

# Waveform banks and whitening matrices; mount a volume here to keep them.
ENV G2NET_CACHE=/var/cache/g2net
RUN mkdir -p "${G2NET_CACHE}" && python train.py --list > /dev/null

CMD ["python", "train.py", "--help"]
