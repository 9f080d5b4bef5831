# vaebench in a container.
#   docker build -t vaebench .                              PyTorch as the package index has it: on Linux with CUDA
#   docker build -t vaebench --build-arg INDEX=URL .        PyTorch of another index, such as one with the CPU wheels
FROM python:3.12-slim
ARG INDEX=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1
# A compiler, for runtime.compile and PESQ.
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
# PyTorch first: it changes less often than the code, and is most of the image.
RUN pip install ${INDEX:+--index-url "$INDEX"} "torch>=2.11,<2.14" "torchvision>=0.26,<0.29"
COPY pyproject.toml README.md LICENSE /src/
COPY vaebench /src/vaebench
COPY conf /src/conf
RUN pip install "/src[language,reasoning,quantisers,diffusers,audio,speech,tensorboard]"
# Runs, results and downloads live in what is mounted there, and belong to no root.
RUN useradd --create-home --uid 1000 bench && mkdir /work && chown bench /work
USER bench
WORKDIR /work
ENV VAEBENCH_HOME=/work/runs VAEBENCH_CACHE=/work/cache
VOLUME /work
ENTRYPOINT ["vaebench"]
CMD ["--help"]
