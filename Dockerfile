# vaebench in a container.
#   docker build -t vaebench .                            PyTorch as the package index has it: with CUDA on Linux
#   docker build -t vaebench --build-arg INDEX=URL .      PyTorch from another index, such as one with CPU wheels
#   docker run --rm -v "$PWD:/bench" vaebench reproduce paper=batchtopk scale=smoke
# With --gpus all it has the GPUs. --user "$(id -u)" makes what it writes yours. Datasets: -v DIR:/datasets:ro.
FROM python:3.12-slim
ARG INDEX=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1
# A compiler, for runtime.compile and PESQ.
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
# PyTorch first: it is most of the image, and changes less often than the code.
RUN pip install ${INDEX:+--index-url "$INDEX"} "torch>=2.11,<2.14" "torchvision>=0.26,<0.29"
COPY pyproject.toml README.md LICENSE /src/
COPY vaebench /src/vaebench
COPY conf /src/conf
RUN pip install "/src[language,reasoning,quantisers,diffusers,audio,speech,tensorboard]"
# The folders runs, results and cache below /bench are all that it writes.
RUN useradd --create-home --uid 1000 bench && mkdir /bench /datasets && chown bench /bench
USER bench
WORKDIR /bench
ENV HOME=/bench/cache VAEBENCH_HOME=/bench/runs VAEBENCH_CACHE=/bench/cache VAEBENCH_DATA=/datasets
VOLUME /bench
ENTRYPOINT ["vaebench"]
CMD ["--help"]
