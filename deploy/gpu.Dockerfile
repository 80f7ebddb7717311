# The toolkit on a machine with an NVIDIA GPU: training, predicting, scoring, the judge.
# Built from the root of the repository: docker build -f deploy/gpu.Dockerfile -t lorweb-bench-gpu .
# Run: docker run --gpus all -v "$PWD:/work" lorweb-bench-gpu train CONFIG.yaml -o CHECKPOINT
# torch brings CUDA's libraries; the machine needs the driver and NVIDIA's container toolkit.
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml requirements.lock README.md LICENSE ./
RUN python -m venv /opt/lorweb \
 && /opt/lorweb/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
COPY lorweb_bench lorweb_bench
COPY datagen datagen
COPY reference_model reference_model
COPY leaderboard leaderboard
RUN /opt/lorweb/bin/pip install --no-cache-dir --no-deps .

FROM python:3.11-slim-bookworm
RUN useradd --uid 10001 --create-home lorweb
COPY --from=build /opt/lorweb /opt/lorweb
ENV PATH=/opt/lorweb/bin:$PATH PYTHONUNBUFFERED=1 HF_HOME=/cache/huggingface LORWEB_BENCH_CACHE=/cache/lorweb-bench NVIDIA_DRIVER_CAPABILITIES=compute,utility NVIDIA_VISIBLE_DEVICES=all
RUN install -d -o lorweb /cache /work
USER lorweb
WORKDIR /work
VOLUME /cache
ENTRYPOINT ["lorweb-bench"]
CMD ["--help"]
