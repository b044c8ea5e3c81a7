"""What an export writes, refuses and lets one choose."""

import base64
import json
import os
import re
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import official_coca
from official_coca.errors import InvalidInputError
from official_coca.program import run_program
from official_coca.serving import export_saved_model as program
from official_coca.serving.export_module import ExportModule
from official_coca.serving.saved_model import export_saved_model, to_precision
from official_coca.serving.signatures import SIGNATURES
from tests.failing_writes import files_of_at_most
from tests.serving.conftest import LAYERS
from tests.tiny_models import encoded_images, tiny_coca


class DualEncoderOnly:
    """The embedding half of a model."""

    def __init__(self, model):
        for name in ("preprocessor", "weights", "trainable_weights", "temperature",
                     "dtype_policy", "vocabulary_size", "encode_image", "encode_text"):  # fmt: skip
            setattr(self, name, getattr(model, name))


def test_card_names_every_signature_input_and_output(directory):
    card = (directory / "1" / "README.md").read_text(encoding="utf-8")
    for signature in SIGNATURES:
        assert f"### {signature.name}\n" in card
        for tensor in (*signature.inputs, *signature.outputs):
            assert f"| `{tensor.name}` | {tensor.dtype.name} |" in card
    assert "num_beams | 3" in card and "b64" in card
    assert "dtype policy" not in card  # the export's precision is the model's
    assert "of which the tokenizer leaves nothing" in card
    assert "filled up with padding to the model's length" in card
    without_keras = re.search(r"without Keras:\n\n```python\n.*?```", card, re.DOTALL)[0]
    assert "hub" not in without_keras and "tensorflow_hub needs Keras" in card


@pytest.mark.parametrize("name", [signature.name for signature in SIGNATURES])
def test_card_of_one_signature_shows_calls_of_it(model, tmp_path, name):
    version = export_saved_model(model, tmp_path, [name], max_caption_length=4)
    card = (version / "README.md").read_text(encoding="utf-8")
    assert f"`serving_default` is\n`{name}`." in card
    others = {signature.name for signature in SIGNATURES} - {name}
    called = set(re.findall(r"(?<=model\.)\w+|(?<=call_endpoint=\")\w+", card))
    called |= set(re.findall(r'(?<="signature_name": ")\w+', card))
    assert name in called and not called & others
    lines = re.search(r"```python\n(.*?)```", card, re.DOTALL)[1]
    jpeg = tmp_path / "cat.jpg"
    jpeg.write_bytes(encoded_images(1, 400, 400)[0])
    assert jpeg.stat().st_size > 400_000  # far more than a shell takes as an argument
    names = {}
    exec(lines.replace("DIR/N", str(version)).replace("cat.jpg", str(jpeg)), names)
    assert hasattr(names["model"], "tokenize") == ("tokenize(text)" in card)
    body = sent_by_curl(re.search(r"```shell\n(.*?)```", card, re.DOTALL)[1], tmp_path)
    assert body["signature_name"] == name
    function = names["model"].signatures[name]
    outputs = function(
        **{
            key: tf.constant(from_json(value), spec.dtype)
            for key, spec in function.structured_input_signature[1].items()
            for value in [body["inputs"][key]]
        }
    )
    for key, value in outputs.items():
        assert not key.endswith("valid") or value.numpy().all(), key


def sent_by_curl(lines, directory):
    """The JSON that a shell's lines would send from a directory."""
    curl = directory / "bin" / "curl"
    curl.parent.mkdir()
    wanted = "-d @- http://localhost:8501/v1/models/coca:predict"
    curl.write_text(f'#!/bin/sh\n[ "$*" = "{wanted}" ] && cat')
    curl.chmod(0o755)
    path = os.pathsep.join([str(curl.parent), os.path.dirname(sys.executable), os.environ["PATH"]])
    ran = subprocess.run(
        ["sh", "-c", lines], cwd=directory, env={**os.environ, "PATH": path}, capture_output=True
    )
    assert ran.returncode == 0 and not ran.stderr, ran.stderr
    return json.loads(ran.stdout)


def from_json(values):
    return [base64.b64decode(v["b64"]) if isinstance(v, dict) else v for v in values]


def test_card_tells_how_a_keras_layer_takes_several_inputs(model, directory, tmp_path):
    text = (directory / "1" / "README.md").read_text(encoding="utf-8")
    name, call = re.search(r"so for `(\w+)`\n`(layer\(.*\))`", text).groups()
    layer = keras.layers.TFSMLayer(str(directory / "1"), call_endpoint=name)
    images, prompts = encoded_images(2), ["a", "the cat"]
    inputs = {"image_bytes": tf.constant(images), "prompt": tf.constant(prompts)}
    outputs = eval(call, {"layer": layer, **inputs})
    expected = model.generate(images, prompts, sampler="beam", num_beams=3, max_length=8)
    assert name == "generate"
    assert [caption.decode() for caption in outputs["caption"].numpy()] == expected
    version = export_saved_model(model, tmp_path, ["encode_text", "encode_image"])
    assert "`layer(" not in (version / "README.md").read_text(encoding="utf-8")


def test_dual_encoder_gets_the_signatures_it_can_serve(model, tmp_path):
    version = export_saved_model(DualEncoderOnly(model), tmp_path, text_pair=False)
    served = tf.saved_model.load(str(version))
    assert set(served.signatures) == {
        "serving_default", "encode_image", "encode_text", "classify", "score",
        "encode_image_tensor", "encode_token_ids",
    }  # fmt: skip
    with pytest.raises(InvalidInputError, match="caption; DualEncoderOnly can offer encode_image"):
        export_saved_model(DualEncoderOnly(model), tmp_path, ["caption"])


def test_bfloat16_halves_the_size_and_keeps_the_embedding(model, directory, tmp_path):
    version = export_saved_model(model, tmp_path, ["encode_image"], precision="bfloat16")
    served = tf.saved_model.load(str(version))
    images = encoded_images(4)
    outputs = served.signatures["serving_default"](image_bytes=tf.constant(images))
    embedding, expected = outputs["image_embedding"].numpy(), np.asarray(model.encode_image(images))
    assert embedding.dtype == np.float32
    assert np.sum(embedding * expected, axis=1).min() > 0.995
    size = sum(variable.numpy().nbytes for variable in served.variables)
    assert size < 0.51 * sum(variable.value.numpy().nbytes for variable in model.weights)


def test_export_in_another_precision_than_the_models_says_so(model, tmp_path, capsys):
    config = {**model.get_config(), "dtype": "mixed_bfloat16", "preprocessor": None}
    mixed = type(model).from_config(config)
    mixed.preprocessor = model.preprocessor
    mixed.save_to_preset(tmp_path / "preset")
    flags = [f"--model={tmp_path / 'preset'}", f"--export_dir={tmp_path / 'models'}"]
    assert run_program(program.main, [*flags, "--signatures=encode_token_ids"]) == 0
    line = "it computes in float32, the model itself in mixed_bfloat16: their outputs differ a"
    assert line in capsys.readouterr().out
    card = (tmp_path / "models" / "1" / "README.md").read_text(encoding="utf-8")
    assert "| precision | float32 |" in card
    assert "| dtype policy of the model itself | mixed_bfloat16 |" in card


def test_precision_of_the_model_itself_is_no_copy(model):
    assert to_precision(model, "float32") is model


def test_merged_rows_equal_python_and_do_not_touch_each_other(model, tmp_path):
    version = export_saved_model(
        model, tmp_path, ["encode_image", "encode_text", "score", "caption"], merge_rows=True
    )
    served = tf.saved_model.load(str(version))
    images, texts = encoded_images(4), ["a", "the red cat of the dog"]
    embed = served.signatures["encode_image"]
    good = embed(image_bytes=tf.constant(images))["image_embedding"].numpy()
    np.testing.assert_allclose(good, model.encode_image(images), atol=1e-5)
    mixed = embed(image_bytes=tf.constant([*images[:2], b"x", images[3]]))["image_embedding"]
    np.testing.assert_array_equal(np.delete(mixed, 2, 0), np.delete(good, 2, 0))
    np.testing.assert_allclose(
        served.encode_text(tf.constant(texts))["text_embedding"],
        model.encode_text(texts),
        atol=1e-5,
    )
    captions = served.caption(tf.constant(images))["caption"].numpy()
    assert [caption.decode() for caption in captions] == model.generate(images)
    for function in served.signatures.values():
        inputs = {
            key: tf.zeros([0], spec.dtype)
            for key, spec in function.structured_input_signature[1].items()
        }
        assert all(output.shape[0] == 0 for output in function(**inputs).values())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"signatures": ["embed"]}, "embed; CoCa can offer encode_image"),
        ({"signatures": []}, "none; CoCa can offer"),
        ({"sampler": "best"}, "unknown sampler"),
        ({"sampler": "beam", "num_beams": 10**8}, "each of 100000000 beams, .*; lower num_beams"),
        ({"precision": "int4"}, "precision='int4'"),
        ({"max_caption_length": 1}, "max_caption_length=1"),
        ({"max_image_pixels": 0}, "max_image_pixels=0"),
    ],
)
def test_wrong_argument_is_named(model, tmp_path, arguments, words):
    with pytest.raises(InvalidInputError, match=words):
        export_saved_model(model, tmp_path, **arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("num_bytes", [20_000, 300_000])  # too few for variables, for the graph
def test_write_that_fails_is_one_line_and_leaves_nothing_behind(model, tmp_path, num_bytes):
    with pytest.raises(InvalidInputError, match="cannot write to .*: File too large"):
        with files_of_at_most(num_bytes):
            export_saved_model(model, tmp_path, ["encode_image"])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["serving_kit", "text_preprocessor", "text_encoder"])
def test_file_in_the_way_is_named_before_anything_is_written(model, tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(InvalidInputError, match=f"{name} is a file where"):
        export_saved_model(model, tmp_path, ["encode_text"], text_pair=True)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_kit_that_cannot_be_written_leaves_no_version_and_no_part_of_a_file(model, tmp_path):
    (tmp_path / "serving_kit" / "models.config").mkdir(parents=True)
    with pytest.raises(InvalidInputError, match="cannot write to .*: Is a directory"):
        export_saved_model(model, tmp_path, ["encode_text"])
    assert {path.name for path in tmp_path.rglob("*")} == {"serving_kit", "models.config"}


def test_model_without_preprocessor_is_refused(tmp_path):
    with pytest.raises(InvalidInputError, match="no preprocessor"):
        export_saved_model(tiny_coca(**LAYERS), tmp_path)


def test_program_writes_the_next_version(model, tmp_path, capsys):
    model.save_to_preset(tmp_path / "preset")
    flags = [f"--model={tmp_path / 'preset'}", f"--export_dir={tmp_path / 'models'}"]
    (tmp_path / "models" / "1").mkdir(parents=True)
    assert run_program(program.main, [*flags, "--signatures=encode_text, encode_token_ids"]) == 0
    assert str(tmp_path / "models" / "2") in capsys.readouterr().out
    served = official_coca.load(str(tmp_path / "models"))
    assert set(served.signatures) == {"serving_default", "encode_text", "encode_token_ids"}
    assert run_program(program.main, [*flags, "--signatures=encode_txt"]) == 2
    assert "encode_txt" in capsys.readouterr().err


def test_program_takes_the_model_of_the_environment(model, tmp_path, monkeypatch, capsys):
    model.save_to_preset(tmp_path / "preset")
    flags = [f"--export_dir={tmp_path / 'models'}", "--signatures=encode_text"]
    monkeypatch.delenv("COCA_MODEL", raising=False)
    assert run_program(program.main, flags) == 2
    assert "required: --model" in capsys.readouterr().err
    monkeypatch.setenv("COCA_MODEL", str(tmp_path / "preset"))
    assert run_program(program.main, flags) == 0
    assert (tmp_path / "models" / "1").is_dir()


def test_program_refuses_an_empty_directory(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run_program(program.main, ["--model=preset", "--export_dir="]) == 2
    assert capsys.readouterr().err == "error: --export_dir is empty; name a directory\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("names", ["", ",", "encode_text,"])
def test_program_refuses_an_empty_signature_name(tmp_path, capsys, names):
    flags = ["--model=no/such", f"--export_dir={tmp_path / 'models'}", f"--signatures={names}"]
    assert run_program(program.main, flags) == 2
    assert capsys.readouterr().err == (
        f"error: --signatures={names} has an empty name; give names with one comma between two\n"
    )
    assert not list(tmp_path.iterdir())


def test_a_fresh_process_serves_a_model_with_a_sentence_piece_tokenizer(directory):
    code = (
        "from official_coca.serving.served_version import ServedVersion\n"
        "import numpy as np, sys\n"
        "version = ServedVersion(1, sys.argv[1])\n"
        "print(version.run('encode_text', {'text': np.array([b'a cat'])})['valid'].tolist())"
    )
    command = [sys.executable, "-c", code, str(directory / "1")]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.stdout.splitlines()[-1:] == ["[True]"], ran.stderr[-2000:]


@pytest.mark.parametrize("sampler", ["beam", "open_clip_beam"])
def test_beams_of_no_pictures_give_no_captions(model, sampler):
    module = ExportModule(model, sampler, merge_rows=True, signatures=["generate"])
    none = tf.constant([], tf.string)
    result = module.generate(none, none)
    assert {name: value.shape for name, value in result.items()} == dict.fromkeys(result, (0,))
