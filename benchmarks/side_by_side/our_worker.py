"""The worker of official_coca: python -m benchmarks.side_by_side.our_worker."""

import official_coca  # isort: skip  # before TensorFlow, for its settings
import keras
import tensorflow as tf

from benchmarks.side_by_side import our_jobs
from benchmarks.side_by_side.tensorflow_profile import profile
from benchmarks.side_by_side.worker_loop import MATMUL_SIZE, Worker, numpy_product


def make_products():
    matrix = tf.ones((MATMUL_SIZE, MATMUL_SIZE))
    multiply = tf.function(tf.matmul)  # eager products are no slower; users' are in graphs
    return {"tensorflow": lambda: multiply(matrix, matrix), "numpy": numpy_product()}


def versions():
    return {
        "official_coca": official_coca.__version__,
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
    }


if __name__ == "__main__":
    Worker(our_jobs.prepare, make_products, profile, versions).serve()
