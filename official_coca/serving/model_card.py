"""The README.md of an exported model: what it takes, what it gives, what it cannot do."""

from official_coca import __version__
from official_coca.preprocessing.image import IMAGE_FORMATS
from official_coca.serving.warmup import MODEL_NAME

_CARD = """\
# {model_name}: an image-text model as a SavedModel

Written by official_coca {version}.

{facts}

## Signatures

B rows of a batch (any number, 0 too), E embedding width, K labels, M templates, C texts, L tokens
of a text, T tokens of a caption. Each is also a method of the loaded object. `serving_default` is
`{default}`.

{signatures}

{optional_prompt}\
Besides, the loaded object is callable: `model(images, training=False)` embeds a batch of
preprocessed pictures in one pass, for fine-tuning; {preprocessing} what the
tensor signatures take. It has `variables`, `trainable_variables` and `regularization_losses`.

## Bad rows

A row is bad, has `valid` false and zero or empty outputs when its image is empty, cut off, no
{formats}, animated, CMYK, of 16 bits a channel, of one pixel or a JPEG of
hundreds of scans, or declares more than {max_image_pixels:,} pixels; when its text is empty, not
UTF-8 or one of which the tokenizer leaves nothing, as of white space alone (of some invisible
characters a tokenizer leaves unknown tokens); when its token ids lie outside the vocabulary; or
when its pixels are not finite, or too large to compute with. Convert such pictures to 8-bit RGB
before you send them. Grey and transparent pictures are good; alpha is dropped, and EXIF orientation
is not applied. Texts too long are cut.

{rows}

A request as a whole is refused (INVALID_ARGUMENT) when a template has not exactly one {{}}, or
prompts are neither one nor as many as images.

## How to call it

DIR/N is the directory that this file is in.

TensorFlow, without this package and without Keras:

```python
import tensorflow as tf
{text_operations}
model = tf.saved_model.load("DIR/N")  # keep it in a variable while it is used
model.{default}({python_inputs})["{output}"]
```

`hub.load("DIR/N")` gives the same, but tensorflow_hub needs Keras to be installed, tf_keras where
TensorFlow's own is Keras 3.

{without_text}Keras 3: `layer = keras.layers.TFSMLayer("DIR/N", call_endpoint="{default}")`.
{several_inputs}\
Keras 3.15 can train a layer of any SavedModel with plain SGD only: it makes the names of other
optimizers' state from names of variables, which in TensorFlow have a colon.
tf_keras: `hub.KerasLayer("DIR/N", trainable=True)` on preprocessed pictures.

TF Serving: `DIR/serving_kit/serve.sh` has the `docker run` line. REST{with_bytes}:

```shell
curl -d @- http://localhost:8501/v1/models/{model_name}:predict <<BODY
{{"signature_name": "{default}",
 "inputs": {{{json_inputs}}}}}
BODY
```

TF Serving's batching merges inputs along their first axis, so `classify` and `score` need a server
without it; see `DIR/serving_kit/batching.config`.

## Limits

The model repeats what its training data taught it, errors and prejudice included; captions can be
wrong. Evaluate it on your own data before you rely on it. Captions are drawn with a fixed seed: the
same picture gets the same caption.

## Licence

The code is Apache 2.0. The weights are under the licence of whoever trained them, which this export
does not know; see to it before you pass them on.
"""

_OPTIONAL_PROMPT = """\
`prompt` has the default `[""]` in the signature: TF Serving takes requests without it (with
batching, of one image). TensorFlow's Python call of `signatures["generate"]` has no such thing:
pass `[""]`, call the method `generate`, or use `caption`.

"""

_TEXT_OPERATIONS = """\
import tensorflow_text  # operations of a SentencePiece tokenizer; before loading
"""

_WITHOUT_TEXT = """\
`import tensorflow_text` needs Keras to be installed; without it,
`tf.load_op_library(".../tensorflow_text/python/ops/_sentencepiece_tokenizer.so")` does. An export
of `--signatures` without texts needs neither.

"""

_SEVERAL_INPUTS = """\
It takes no dictionary of inputs, but the first by position and the others by name, so for `{name}`
`layer({inputs})`.
"""

_INDEPENDENT = """\
Rows do not depend on each other: every other row of the batch is bit-equal to what it is alone."""

_MERGED = """\
Rows are computed in one pass: another number of rows changes the last bits of each, while what
the other rows are does not."""


def model_card(module, facts, has_text_operations):
    """Returns the text of the card.

    Args:
        module: an `ExportModule`.
        facts: {name: value} of the export, for the first table.
        has_text_operations: whether its graph needs those of tensorflow_text.
    """
    names = {signature.name for signature in module.offered_signatures}
    default = module.default_signature
    examples = _examples(module)
    inputs = {tensor.name: examples[tensor.name] for tensor in default.inputs}
    facts = {**_model_facts(module), **facts}
    return _CARD.format(
        default=default.name,
        output=default.outputs[0].name,
        python_inputs=", ".join(python for python, _ in inputs.values()),
        json_inputs=", ".join(f'"{name}": {json}' for name, (_, json) in inputs.items()),
        with_bytes=", with `b64` for bytes" if "image_bytes" in inputs else "",
        several_inputs=_several_inputs(module.offered_signatures),
        preprocessing=_preprocessing(module),
        model_name=MODEL_NAME,
        version=__version__,
        facts=_table(("", ""), facts.items()),
        signatures="\n\n".join(
            _describe(signature, module.sizes) for signature in module.offered_signatures
        ),
        optional_prompt=_OPTIONAL_PROMPT if "generate" in names else "",
        text_operations=_TEXT_OPERATIONS if has_text_operations else "",
        without_text=_WITHOUT_TEXT if has_text_operations else "",
        formats=IMAGE_FORMATS,
        max_image_pixels=module.max_image_pixels,
        rows=_MERGED if module.merge_rows else _INDEPENDENT,
    )


def _examples(module):
    """{input: how it is written in Python and in JSON}, the JSON for a shell's here-document.

    Text that a shell puts there may be of any length, while an argument of curl's may not.
    """
    height, width = module.sizes["H"], module.sizes["W"]
    bos_token_id = module.preprocessor.tokenizer.bos_token_id
    file = 'tf.constant([open("cat.jpg", "rb").read()])'
    return {
        "image_bytes": (file, """[{"b64": "$(base64 < cat.jpg | tr -d '\\n')"}]"""),
        "images": (
            f'model.preprocess_images({file})["images"]',
            f'$(python3 -c "print([[[[0.1, 0.2, 0.3]] * {width}] * {height}])")',
        ),
        "text": ('tf.constant(["a cat"])', '["a cat"]'),
        "labels": ('tf.constant(["cat", "dog"])', '["cat", "dog"]'),
        "templates": ('tf.constant(["a photo of a {}"])', '["a photo of a {}"]'),
        "prompt": ('tf.constant([""])', '[""]'),
        "token_ids": (f"tf.constant([[{bos_token_id}, 5, 6]])", f"[[{bos_token_id}, 5, 6]]"),
    }


def _several_inputs(signatures):
    """How a Keras layer of a signature with several inputs is called; "" if there is none."""
    several = [signature for signature in signatures if len(signature.inputs) > 1]
    if not several:
        return ""
    first, *others = (tensor.name for tensor in several[-1].inputs)
    inputs = ", ".join([first, *(f"{name}={name}" for name in others)])
    return _SEVERAL_INPUTS.format(name=several[-1].name, inputs=inputs)


def _preprocessing(module):
    if hasattr(module, "tokenize"):
        return "`preprocess_images(image_bytes)` and `tokenize(text)` return"
    return "`preprocess_images(image_bytes)` returns"


def _model_facts(module):
    converter = module.preprocessor.image_converter
    tokenizer = module.preprocessor.tokenizer
    parameters = sum(variable.shape.num_elements() for variable in module.variables)
    return {
        "parameters": f"{parameters:,}",
        "picture": f"{converter.image_size[0]} x {converter.image_size[1]}, "
        f"{converter.resize_mode}, {converter.interpolation}, mean {converter.mean}, "
        f"std {converter.std}",
        "tokenizer": f"{type(tokenizer).__name__}, {tokenizer.vocabulary_size:,} tokens, "
        f"at most {module.preprocessor.max_length} of a text",
        "longest caption": module.caption_length,
    }


def _describe(signature, sizes):
    rows = [("in", tensor) for tensor in signature.inputs]
    rows += [("out", tensor) for tensor in signature.outputs]
    table = _table(
        ("", "name", "dtype", "shape", "meaning"),
        [
            (side, f"`{tensor.name}`", tensor.dtype.name, _shape(tensor, sizes), tensor.meaning)
            for side, tensor in rows
        ],
    )
    return f"### {signature.name}\n\n{signature.meaning}\n\n{table}"


def _shape(tensor, sizes):
    axes = [str(sizes.get(axis, axis)) for axis in tensor.shape]
    return f"({', '.join(axes)}{',' if len(axes) == 1 else ''})"


def _table(heads, rows):
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)
