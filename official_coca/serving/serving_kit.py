"""What TF Serving needs beside a model: its configuration and example clients.

    serving_kit/models.config       which model, which versions
    serving_kit/batching.config     how requests are merged
    serving_kit/monitoring.config   Prometheus metrics
    serving_kit/serve.sh            the `docker run` line
    serving_kit/rest_client.py, grpc_client.py

Sources: https://www.tensorflow.org/tfx/serving/serving_config, .../tfx/serving/docker and
tensorflow_serving/batching/README.md.
"""

import os
import pathlib
import uuid

from official_coca.serving import clients
from official_coca.serving.warmup import MODEL_NAME

KIT_DIRECTORY = "serving_kit"

_MODELS = f"""\
model_config_list {{
  config {{
    name: "{MODEL_NAME}"
    base_path: "/models/{MODEL_NAME}"
    model_platform: "tensorflow"
    # The newest version is served; the one before stays until it is ready.
    model_version_policy {{ latest {{ num_versions: 1 }} }}
  }}
}}
"""

_BATCHING = """\
# Requests for the same signature are merged along their first axis, which must then be as long in
# each input of a request. So with batching on
#   - classify and score work only where images, labels, templates or texts are equally many, and
#     are not for that: serve them from a second server without --enable_batching;
#   - generate needs a prompt ("" for none) for each image; caption needs none.
max_execution_batch_size { value: 32 }
# A request of more rows is cut and put together again; one of more than this is refused.
enable_large_batch_splitting { value: true }
max_batch_size { value: 1024 }
# An answer waits this long for company.
batch_timeout_micros { value: 2000 }
# More waiting batches than this are refused (UNAVAILABLE), so that a queue cannot grow for ever.
max_enqueued_batches { value: 100 }
# Batches computed at once; the number of cores is a good start.
num_batch_threads { value: 2 }
# allowed_batch_sizes is left out: any size is computed as it is, while a batch that is filled up
# costs as much as the size that it is filled up to. With XLA give some (1, 2, 4, ..., 32).
pad_variable_length_inputs: false
"""

_MONITORING = """\
# Prometheus reads http://localhost:8501/monitoring/prometheus/metrics. Worth an alarm:
#   :tensorflow:serving:request_count, by status: its rate, and that of any status but OK
#   :tensorflow:serving:request_latency: its 99th percentile
#   :tensorflow:core:graph_run_time_usecs_histogram: time in the model alone
#   :tensorflow:cc:saved_model:load_latency: how long a new version takes to load
prometheus_config {
  enable: true
  path: "/monitoring/prometheus/metrics"
}
"""

SERVE = f"""\
#!/bin/sh
# Serves gRPC on port 8500 and REST on port 8501, on this machine only.
# tensorflow/serving holds the operations of tensorflow_text, which the tokenizer may need.
models=$(cd "$(dirname "$0")/.." && pwd)
exec docker run --rm -p 127.0.0.1:8500:8500 -p 127.0.0.1:8501:8501 \\
    --mount "type=bind,source=$models,target=/models/{MODEL_NAME},readonly" \\
    tensorflow/serving:2.19.1 \\
    --model_config_file=/models/{MODEL_NAME}/serving_kit/models.config \\
    --model_config_file_poll_wait_seconds=60 \\
    --enable_batching --batching_parameters_file=/models/{MODEL_NAME}/serving_kit/batching.config \\
    --monitoring_config_file=/models/{MODEL_NAME}/serving_kit/monitoring.config
"""

_CLIENTS = ("rest_client.py", "grpc_client.py")


def write_serving_kit(directory):
    """Writes `serving_kit/` beside the versions in `directory`."""
    kit = pathlib.Path(directory) / KIT_DIRECTORY
    kit.mkdir(exist_ok=True)
    texts = {
        "models.config": _MODELS,
        "batching.config": _BATCHING,
        "monitoring.config": _MONITORING,
        "serve.sh": SERVE,
    }
    sources = pathlib.Path(clients.__file__).parent
    texts |= {name: (sources / name).read_text(encoding="utf-8") for name in _CLIENTS}
    for name, text in texts.items():
        # A server may read the file at this moment.
        unfinished = kit / f".{name}.{uuid.uuid4().hex}"
        try:
            unfinished.write_text(text, encoding="utf-8")
            if name.endswith(".sh"):
                unfinished.chmod(0o755)
            os.replace(unfinished, kit / name)
        finally:
            unfinished.unlink(missing_ok=True)
