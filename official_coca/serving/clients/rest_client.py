"""Asks a model server over REST; needs nothing but Python.

    python rest_client.py encode_image photo.jpg other.png
    python rest_client.py encode_text "a cat" "a dog"
    python rest_client.py caption photo.jpg
    python rest_client.py classify photo.jpg --labels cat dog --templates "a photo of a {}"
    python rest_client.py score photo.jpg --texts "a cat" "a dog"
"""

import argparse
import base64
import http.client
import json
import os
import pathlib
import sys
import urllib.error
import urllib.request

_URL = "http://localhost:8501/v1/models/coca"
# What a shell reports of a program that SIGPIPE ended: 128 + 13.
_BROKEN_PIPE = 141
# What urllib and a body that is no answer raise. A URL that is none is a ValueError too.
_NO_ANSWER = (OSError, http.client.HTTPException, ValueError, KeyError, TypeError)


def predict(url, signature_name, inputs, timeout=30.0):
    """Returns {output: list} of a signature; a single output as {"outputs": list}.

    Args:
        url: as "http://localhost:8501/v1/models/coca".
        signature_name: of the model.
        inputs: {input: list of str, bytes or numbers}.
        timeout: seconds.
    """
    body = {
        "signature_name": signature_name,
        "inputs": {name: [_as_json(value) for value in values] for name, values in inputs.items()},
    }
    request = urllib.request.Request(
        f"{url}:predict", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        outputs = json.load(answer)["outputs"]
    return outputs if isinstance(outputs, dict) else {"outputs": outputs}


def _as_json(value):
    """Bytes go as base64 under the key that TF Serving knows them by."""
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode("ascii")}
    return value


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "signature", choices=["encode_image", "encode_text", "caption", "classify", "score"]
    )
    parser.add_argument("values", nargs="+", help="image files, or texts for encode_text")
    parser.add_argument("--labels", nargs="*", default=[])
    parser.add_argument("--templates", nargs="*", default=[])
    parser.add_argument("--texts", nargs="*", default=[])
    parser.add_argument("--url", default=_URL, help="of the model")
    flags = parser.parse_args()
    for signature, name in (("classify", "labels"), ("score", "texts")):
        if flags.signature == signature and not getattr(flags, name):
            return f"{signature} needs --{name}"
    if flags.signature == "encode_text":
        inputs = {"text": flags.values}
    else:
        try:
            inputs = {"image_bytes": [pathlib.Path(path).read_bytes() for path in flags.values]}
        except OSError as error:
            return f"cannot read {error.filename}: {error.strerror}"
    if flags.signature == "classify":
        inputs |= {"labels": flags.labels, "templates": flags.templates or ["{}"]}
    if flags.signature == "score":
        inputs["text"] = flags.texts
    try:
        outputs = predict(flags.url, flags.signature, inputs)
    except urllib.error.HTTPError as error:
        reason = " ".join(error.read().decode(errors="replace").split())
        return f"the server answered {error.code}: {reason}"
    except _NO_ANSWER as error:
        hint = "" if "/v1/models/" in flags.url else f"; --url is to be like {_URL}"
        return f"no answer from {flags.url}: {type(error).__name__}: {error}{hint}"
    try:
        print(json.dumps(outputs, indent=2), flush=True)
    except BrokenPipeError:
        # Who read the output has gone, as `head` does. Python would flush once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    valid = outputs.get("valid", [])
    if flags.signature == "score":
        valid = outputs["image_valid"] + outputs["text_valid"]
    if flags.signature == "classify" and not any(valid):
        return "the model cannot read any of the pictures, or any of the labels: all is zero"
    return _complaint([*flags.values, *flags.texts], valid)


def _complaint(values, valid):
    """One line on what the model could not read; None if it read all."""
    bad = [repr(value) for value, is_valid in zip(values, valid) if not is_valid]
    return f"the model cannot read {', '.join(bad)}: its outputs are empty or zero" if bad else None


if __name__ == "__main__":
    sys.exit(main())
