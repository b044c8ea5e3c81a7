"""The jobs as official_coca does them, through its public methods.

Shapes: B batch, L tokens.
"""

import json
import os
import pathlib

import numpy as np
import tensorflow as tf

from benchmarks.side_by_side import inputs
from benchmarks.side_by_side.flops import CoCaFlops
from benchmarks.side_by_side.prepared_job import PreparedJob
from official_coca.dataloaders.example_schema import make_example
from official_coca.dataloaders.pipeline import evaluation_dataset
from official_coca.dataloaders.shard_writer import ShardWriter
from official_coca.dataloaders.sources import Source
from official_coca.models.coca import CoCa
from official_coca.optimization.adamw import AdamW
from official_coca.preprocessing.clip_tokenizer import CLIPTokenizer
from official_coca.preprocessing.compiled_frames import fast_resize
from official_coca.preprocessing.image import ImageConverter, decode_image


def prepare(job):
    """A `PreparedJob` of a job's description; see `comparisons`."""
    return JOBS[job["kind"]](job)


def load_model(job):
    """A checkpoint's model with its weights, or a built-in architecture with initial ones."""
    overrides = job.get("overrides", {})
    if pathlib.Path(job["model"]).is_dir():
        return CoCa.from_preset(job["model"], preprocessor=None, **overrides)
    return CoCa.from_preset(job["model"], load_weights=False, **overrides)


def encode_image(job):
    model = load_model(job)
    images = _images(model, job)

    def run():
        return {"image_embedding": model.encode_image(images).numpy()}

    flops = job["batch_size"] * _flops(model).image()
    return PreparedJob(run, job["batch_size"], flops)


def encode_text(job):
    model = load_model(job)
    token_ids = _texts(model, job["batch_size"], job["length"])

    def run():
        return {"text_embedding": model.encode_text(token_ids).numpy()}

    flops = job["batch_size"] * _flops(model).text(job["length"])
    return PreparedJob(run, job["batch_size"], flops)


def zero_shot(job):
    model = load_model(job)
    images = _images(model, job)
    prompts = _texts(model, job["classes"], job["length"])

    def run():
        scores = model.encode_image(images) @ tf.transpose(model.encode_text(prompts))
        return {"probabilities": tf.nn.softmax(scores / model.temperature).numpy()}

    flops = _flops(model)
    count = job["batch_size"] * flops.image() + job["classes"] * flops.text(job["length"])
    return PreparedJob(run, job["batch_size"], count)


def caption(job):
    model = load_model(job)
    images = _images(model, job)
    beams, groups = job.get("beams", 1), job.get("beam_groups", 1)
    sampler = {"sampler": "greedy"}
    if beams > 1:
        sampler = {"sampler": "open_clip_beam", "num_beams": beams, "num_beam_groups": groups}
    length = job["length"]

    def run():
        written = model.generate(images, max_length=length, min_length=length - 1, **sampler)
        return {"token_ids": np.asarray(written)}

    # The groups of one image find the same: counted once.
    flops = _flops(model).captioning(job["batch_size"], length, beams // groups)
    return PreparedJob(run, job["batch_size"], flops)


def train_step(job):
    """One step each on fixed batches, with the compiled function that `fit` uses."""
    model = load_model(job)
    texts, batches = _training_texts(model, job), []
    for number, token_ids in enumerate(texts):
        targets = inputs.next_tokens(token_ids)
        images = inputs.random_images(job["batch_size"], model.image_size, seed=number)
        x = {"images": images, "token_ids": token_ids}
        batches.append((x, targets, (targets != model.pad_token_id).astype("float32")))
    model.compile(AdamW(1e-4), jit_compile=job.get("jit_compile", "auto"))
    model.make_train_function()
    steps = iter(_endless(batches))

    def run():
        logs = [model.train_function(steps) for _ in batches]
        # The means over the steps so far are the losses of the first step only then.
        return {name: float(logs[0][name]) for name in model.loss_weights() if name in logs[0]}

    flops, count = _flops(model), 0
    for token_ids in texts:
        predicted = np.count_nonzero(inputs.next_tokens(token_ids) != model.pad_token_id)
        length = token_ids.shape[1]
        count += flops.training_step(job["batch_size"], length, length, int(predicted))
    return PreparedJob(run, len(batches), count)


def read_pictures(job):
    """The project's evaluation loader, from shards with the bytes of the files."""
    paths = [pathlib.Path(path) for path in job["paths"]]
    directory = paths[0].parent / "shards"
    with ShardWriter(directory, "pictures", "test", shards=1) as writer:
        for path in paths:
            writer.write(make_example(path.read_bytes(), ["a picture"], "pictures"))
    source = Source("pictures", f"{directory}/pictures-test-*", "captions")
    dataset = evaluation_dataset(source, _converter(job), job["batch_size"])
    return _pipeline_job(dataset, lambda batch: batch["images"], len(paths))


def read_picture_files(job):
    """The fast resizing in a plain `tf.data` pipeline over the files."""
    converter = _converter(job)
    resize = fast_resize(converter, converter.image_size)
    options = tf.data.Options()
    options.autotune.enabled = False  # as `evaluation_dataset` does

    def view(path):
        return converter.normalize(resize(decode_image(tf.io.read_file(path))))

    dataset = (
        tf.data.Dataset.from_tensor_slices(list(job["paths"]))
        .map(view, num_parallel_calls=len(os.sched_getaffinity(0)))
        .batch(job["batch_size"])
        .prefetch(2)
        .with_options(options)
    )
    return _pipeline_job(dataset, lambda batch: batch, len(job["paths"]))


JOBS = {
    "encode_image": encode_image,
    "encode_text": encode_text,
    "zero_shot": zero_shot,
    "caption": caption,
    "train_step": train_step,
    "read_pictures": read_pictures,
    "read_picture_files": read_picture_files,
}


def _pipeline_job(dataset, images_of, count):
    def run():
        first = None
        for batch in dataset:
            first = images_of(batch) if first is None else first
        return {"pixels": first[0, ::8, ::8].numpy()}

    return PreparedJob(run, count)


def _converter(job):
    config = json.loads((pathlib.Path(job["model"]) / "open_clip_config.json").read_text())
    image_size = config["model_cfg"]["vision_cfg"]["image_size"]
    return ImageConverter.from_preprocess_cfg(config["preprocess_cfg"], image_size)


def _endless(batches):
    """The batches in turn, as datasets of real captions give them: L is not known in advance."""
    x, targets, weights = batches[0]
    signature = (
        {
            "images": tf.TensorSpec(x["images"].shape, tf.float32),
            "token_ids": tf.TensorSpec((len(targets), None), tf.int32),
        },
        tf.TensorSpec((len(targets), None), tf.int32),
        tf.TensorSpec((len(targets), None), tf.float32),
    )
    if len({batch[1].shape for batch in batches}) == 1:
        signature = tf.nest.map_structure(
            lambda array: tf.TensorSpec(array.shape, array.dtype), batches[0]
        )
    once = tf.data.Dataset.from_generator(lambda: iter(batches), output_signature=signature)
    return once.cache().repeat().prefetch(tf.data.AUTOTUNE)  # from the second round on, no Python


def _training_texts(model, job):
    """A batch of token ids for each step of a run."""
    shape = (job["batch_size"], job["length"])
    if "captions_dir" not in job:
        return [inputs.full_texts(*shape, model.vocabulary_size)]
    captions = inputs.real_captions(job["captions_dir"], job["batch_size"] * job["num_batches"])
    tokens = CLIPTokenizer().tokenize(captions).to_list()
    framed = inputs.framed_texts(tokens, job["length"], model.vocabulary_size)
    batches = np.split(framed, job["num_batches"])
    return [inputs.trim(batch, job["length_multiple"]) for batch in batches]


def _images(model, job):
    return tf.constant(inputs.random_images(job["batch_size"], model.image_size))


def _texts(model, batch_size, length):
    return tf.constant(inputs.full_texts(batch_size, length, model.vocabulary_size))


def _flops(model):
    return CoCaFlops(model.get_config())
