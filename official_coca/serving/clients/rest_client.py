"""Asks a model server over REST; needs nothing but Python.

    python rest_client.py encode_image photo.jpg other.png
    python rest_client.py encode_text "a cat" "a dog"
    python rest_client.py caption photo.jpg
    python rest_client.py classify photo.jpg --labels cat dog --templates "a photo of a {}"
    python rest_client.py score photo.jpg --texts "a cat" "a dog"
"""

import argparse
import base64
import json
import pathlib
import sys
import urllib.error
import urllib.request


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
    parser.add_argument("--url", default="http://localhost:8501/v1/models/coca")
    flags = parser.parse_args()
    if flags.signature == "encode_text":
        inputs = {"text": flags.values}
    else:
        inputs = {"image_bytes": [pathlib.Path(path).read_bytes() for path in flags.values]}
    if flags.signature == "classify":
        inputs |= {"labels": flags.labels, "templates": flags.templates or ["{}"]}
    if flags.signature == "score":
        inputs["text"] = flags.texts
    try:
        print(json.dumps(predict(flags.url, flags.signature, inputs), indent=2))
    except urllib.error.HTTPError as error:
        return f"the server answered {error.code}: {error.read().decode(errors='replace')}"
    except OSError as error:
        return f"no answer from {flags.url}: {error}"


if __name__ == "__main__":
    sys.exit(main())
